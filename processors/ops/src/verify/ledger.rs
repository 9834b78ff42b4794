//! The accounts of a customer beside the ledger: what an account holds is what was credited to it less what was debited.

use serde_json::json;

use super::finding::{Field, Finding};
use super::report::Compared;
use super::what::What;
use crate::postgres::Database;

/// The view that knows the accounts of a customer; the ledger's has the same context.
pub(super) const VIEW: &str = "account_balances";

/// Accounts of which both views have folded the same events. A difference is none while one of them is behind.
const ACCOUNTS: &str = "SELECT a.account_id, a.balance, coalesce(l.credit - l.debit, 0)::bigint
    FROM account_balances AS a
    JOIN freshness AS f ON f.view = 'account_balances' AND f.context = 'accounts' AND f.stream = a.account_id
    JOIN freshness AS g ON g.view = 'ledger_balances' AND g.context = 'accounts' AND g.stream = a.account_id
                       AND g.version = f.version
    LEFT JOIN ledger_balances AS l ON l.ledger_account = a.account_id AND l.currency = a.currency
    WHERE a.customer_id = $1 ORDER BY a.account_id LIMIT 1000";

/// Compares the first 1,000 accounts.
pub(super) async fn of_customer(
    read: &Database,
    customer_id: &str,
) -> sqlx::Result<(Compared, Vec<Finding>)> {
    let accounts: Vec<(String, i64, i64)> =
        sqlx::query_as(ACCOUNTS).bind(customer_id).fetch_all(&read.pool).await?;
    let rows = i64::try_from(accounts.len()).unwrap_or(i64::MAX);
    let compared = Compared { name: "ledger".to_owned(), events: 0, rows: Some(rows), documents: None };
    Ok((compared, accounts.into_iter().filter_map(finding).collect()))
}

fn finding((account_id, balance, ledger): (String, i64, i64)) -> Option<Finding> {
    let field = Field {
        field: "balance".to_owned(),
        found: json!(balance),
        expected: json!(ledger),
        difference: balance.checked_sub(ledger),
    };
    (balance != ledger).then(|| Finding {
        what: What::Ledger,
        name: VIEW.to_owned(),
        key: account_id,
        versions: [None, None],
        fields: vec![field],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_holds_what_the_ledger_says_is_no_finding() {
        assert_eq!(finding(("DE01".to_owned(), 470, 470)), None);
        let found = finding(("DE01".to_owned(), 470, 400)).expect("a finding");
        assert_eq!((found.what, found.fields[0].difference), (What::Ledger, Some(70)));
    }
}
