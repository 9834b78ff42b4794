//! The accounts of a customer beside the ledger: what an account holds is what was credited to it less what was debited.

use serde_json::json;

use super::finding::{Field, Finding};
use super::report::Compared;
use super::what::What;
use crate::postgres::Database;

/// The view that knows the accounts of a customer; the ledger's has the same context.
pub(super) const VIEW: &str = "account_balances";

/// The accounts, what the ledger says of each, whether both views have folded the same events of it, and how many there are. A
/// difference is none while one of the views is behind.
const ACCOUNTS: &str = "SELECT a.account_id, a.balance, coalesce(l.credit - l.debit, 0)::bigint,
           coalesce(g.version = f.version, false), count(*) OVER ()
    FROM account_balances AS a
    LEFT JOIN freshness AS f ON f.view = 'account_balances' AND f.context = 'accounts' AND f.stream = a.account_id
    LEFT JOIN freshness AS g ON g.view = 'ledger_balances' AND g.context = 'accounts' AND g.stream = a.account_id
    LEFT JOIN ledger_balances AS l ON l.ledger_account = a.account_id AND l.currency = a.currency
    WHERE a.customer_id = $1 ORDER BY a.account_id LIMIT 1000";

/// An account: its id, what it holds, what the ledger says, whether these can be compared, and the number of all accounts.
type Account = (String, i64, i64, bool, i64);

/// Accounts beside the ledger.
pub(super) struct Books {
    pub(super) compared: Compared,
    pub(super) findings: Vec<Finding>,
    /// Accounts that were not compared: one of the views is behind, or there are more than 1,000.
    pub(super) left_out: i64,
}

/// Compares the first 1,000 accounts.
pub(super) async fn of_customer(read: &Database, customer_id: &str) -> sqlx::Result<Books> {
    let accounts = sqlx::query_as(ACCOUNTS).bind(customer_id).fetch_all(&read.pool).await?;
    Ok(Books::of(accounts))
}

impl Books {
    fn of(accounts: Vec<Account>) -> Self {
        let all = accounts.first().map_or(0, |(.., all)| *all);
        let level: Vec<Account> = accounts.into_iter().filter(|(.., level, _)| *level).collect();
        let rows = i64::try_from(level.len()).unwrap_or(i64::MAX);
        let compared = Compared { name: "ledger".to_owned(), events: 0, rows: Some(rows), documents: None };
        Self {
            compared,
            findings: level.into_iter().filter_map(finding).collect(),
            left_out: all.saturating_sub(rows),
        }
    }
}

fn finding((account_id, balance, ledger, ..): Account) -> Option<Finding> {
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
        let account = |ledger| ("DE01".to_owned(), 470, ledger, true, 1);
        assert_eq!(finding(account(470)), None);
        let found = finding(account(400)).expect("a finding");
        assert_eq!((found.what, found.fields[0].difference), (What::Ledger, Some(70)));
    }

    #[test]
    fn accounts_that_are_behind_or_too_many_are_counted_and_no_findings() {
        let account = |id: &str, level| (id.to_owned(), 1, 2, level, 5);
        let books = Books::of(vec![account("a", true), account("b", false)]);
        assert_eq!((books.compared.rows, books.findings.len(), books.left_out), (Some(1), 1, 4));
        assert_eq!(Books::of(Vec::new()).left_out, 0);
    }
}
