//! The scope of repairs, and the repair of rows: the serving generation gets the row that was folded again.

use std::collections::HashSet;

use millrace_store::Means;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::finding::Sign;
use super::index::Repaired;
use super::rows::Looked;
use super::what::What;
use crate::audit::Operator;
use crate::postgres::Database;
use crate::replay::compare::{Counterparts, key_of};

/// The findings that may be repaired, how many, and for which operator.
pub struct RepairScope {
    pub(super) operator: Operator,
    /// Only these findings; `None` for all.
    only: Option<HashSet<Sign>>,
    left: usize,
}

impl RepairScope {
    /// All findings.
    pub fn everything(operator: Operator) -> Self {
        Self { operator, only: None, left: usize::MAX }
    }

    /// Findings that were also found before, up to `most`.
    pub fn known(operator: Operator, known: HashSet<Sign>, most: usize) -> Self {
        Self { operator, only: Some(known), left: most }
    }

    /// Whether a finding may be repaired; if so, it counts.
    pub(super) fn admits(&mut self, what: What, name: &str, key: &str) -> bool {
        let sign = (what, name.to_owned(), key.to_owned());
        let admits = self.left > 0 && self.only.as_ref().is_none_or(|known| known.contains(&sign));
        self.left -= usize::from(admits);
        admits
    }
}

/// Whether a row may be replaced by the folded one. If a stream could not be folded to its end, a folded row of fewer events may
/// be the wrong one.
pub(super) fn is_known(pair: &Counterparts, stuck: bool) -> bool {
    let version = |row: &Option<Value>| row.as_ref()?.get("version")?.as_i64();
    !stuck || version(&pair.building) >= version(&pair.serving)
}

/// Replaces a row of the serving table by the auditor's, if it has not changed since it was compared: a worker that folds an
/// event into it meanwhile wins. A row that Postgres refuses stays as it is. Recorded in the audit.
pub(super) async fn row(
    read: &Database,
    looked: &Looked<'_>,
    audited: &str,
    pair: &Counterparts,
    operator: &Operator,
) -> sqlx::Result<Repaired> {
    let mut transaction = read.pool.begin().await?;
    match replace(&mut transaction, looked, audited, pair).await {
        Ok(true) => {}
        Ok(false) => return transaction.rollback().await.map(|()| Repaired::NotNow),
        Err(error) => return refused(error),
    }
    let subject = format!("{}/{}", looked.name, pair.key);
    let details = json!({"found": pair.serving, "expected": pair.building});
    operator.sign(&mut transaction, "repair", &subject, &details).await?;
    transaction.commit().await?;
    Ok(Repaired::Now)
}

/// A row that cannot be stored does not stop the repair of others.
fn refused(error: sqlx::Error) -> sqlx::Result<Repaired> {
    match Means::of(&error) {
        Means::BadData => Ok(Repaired::Refused(error.to_string())),
        _ => Err(error),
    }
}

/// Replaces a row. A worker that folds an event into it either commits first, then the row has changed; or its write finds the
/// replaced row, and it folds again.
async fn replace(
    connection: &mut PgConnection,
    Looked { table, serving: (_, rows), .. }: &Looked<'_>,
    audited: &str,
    pair: &Counterparts,
) -> sqlx::Result<bool> {
    let key = key_of(table);
    // A row of version 0 does not count as a row.
    let delete =
        format!("DELETE FROM \"{rows}\" AS t WHERE {key} = $1 AND (version = 0 OR to_jsonb(t) = $2)");
    let delete = sqlx::query(AssertSqlSafe(delete)).bind(&pair.key).bind(&pair.serving);
    let deleted = delete.execute(&mut *connection).await?.rows_affected();
    if pair.serving.is_some() && deleted == 0 {
        return Ok(false);
    }
    let insert = format!(
        "INSERT INTO \"{rows}\" SELECT * FROM \"{audited}\" AS t WHERE {key} = $1 ON CONFLICT DO NOTHING"
    );
    let inserted = sqlx::query(AssertSqlSafe(insert)).bind(&pair.key).execute(connection).await?;
    Ok(pair.building.is_none() || inserted.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_may_only_lack_events_is_left_as_it_is() {
        let row = |version: i64| Some(json!({"version": version}));
        let pair = |serving, building| Counterparts { key: "1".to_owned(), serving, building };
        for (lacks, pair) in [
            (false, pair(row(2), row(2))),
            (false, pair(None, row(1))),
            (false, pair(row(1), row(2))),
            (true, pair(row(2), row(1))),
            (true, pair(row(2), None)),
        ] {
            assert!(is_known(&pair, false));
            assert_eq!(is_known(&pair, true), !lacks, "{pair:?}");
        }
    }

    #[test]
    fn only_what_was_found_before_is_repaired_and_no_more_than_allowed() {
        let operator = Operator::new(Some("auditor"), "twice");
        let sign = |key: &str| (What::Row, "orders".to_owned(), key.to_owned());
        let mut scope = RepairScope::known(operator, [sign("1"), sign("2")].into(), 1);
        assert!(!scope.admits(What::Row, "orders", "3") && !scope.admits(What::Document, "orders", "1"));
        assert!(scope.admits(What::Row, "orders", "1") && !scope.admits(What::Row, "orders", "2"));
    }
}
