//! Tallies: the amounts of a batch are summed by key in memory, then added to the rows in one statement.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_domain::Tally;
use millrace_store::Group;
use millrace_store::names::table;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Shared, intake};
use crate::database::Pool;
use crate::error::WorkError;
use crate::metrics::timed;
use crate::reason::Reason;
use crate::record::Record;
use crate::role::{Folded, Role, Sequenced};
use crate::sequence::{Decoded, Intake, Placed};

/// The sum of a batch for one key.
#[derive(Serialize)]
struct Sum<A> {
    #[serde(flatten)]
    amounts: A,
    /// The number of events that added an amount.
    version: i64,
    updated_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Row<'s, K, A> {
    #[serde(flatten)]
    key: &'s K,
    #[serde(flatten)]
    sum: &'s Sum<A>,
}

/// Adds events to the table of one generation of the tally `T`.
pub struct TallyRole<T> {
    shared: Shared,
    group: Group,
    store: String,
    tally: std::marker::PhantomData<fn() -> T>,
}

impl<T: Tally> TallyRole<T> {
    /// The role that builds a generation of the tally.
    pub fn new(shared: Shared, generation: i32) -> Self {
        let group = shared.group(T::NAME, generation);
        Self { shared, group, store: store_statement::<T>(generation), tally: std::marker::PhantomData }
    }
}

fn store_statement<T: Tally>(generation: i32) -> String {
    let table = table(T::NAME, generation);
    let keys: Vec<String> = T::KEYS.iter().map(|key| format!("\"{key}\"")).collect();
    let adds: Vec<String> =
        T::AMOUNTS.iter().map(|a| format!("\"{a}\" = t.\"{a}\" + excluded.\"{a}\"")).collect();
    format!(
        "INSERT INTO \"{table}\" AS t SELECT * FROM json_populate_recordset(null::\"{table}\", $1::json)
         ON CONFLICT ({}) DO UPDATE
         SET {}, version = t.version + excluded.version, updated_at = greatest(t.updated_at, excluded.updated_at)",
        keys.join(", "),
        adds.join(", ")
    )
}

/// Sums by key, in the order of the keys, so that all workers lock rows in the same order.
fn sums<T: Tally>(events: &[Placed]) -> Result<BTreeMap<T::Key, Sum<T::Amounts>>, WorkError> {
    let mut sums: BTreeMap<T::Key, Sum<T::Amounts>> = BTreeMap::new();
    for (_, recorded) in events {
        let at = recorded.occurred_at;
        let empty = || Sum { amounts: T::Amounts::default(), version: 0, updated_at: at };
        let mut touched = BTreeSet::new();
        for (key, amounts) in T::delta(recorded) {
            let sum = sums.entry(key.clone()).or_insert_with(empty);
            let added = T::add(&sum.amounts, &amounts);
            sum.amounts =
                added.ok_or_else(|| WorkError::Refused(format!("a sum of {} overflows", T::NAME).into()))?;
            sum.version += i64::from(touched.insert(key));
            sum.updated_at = sum.updated_at.max(at);
        }
    }
    Ok(sums)
}

#[async_trait]
impl<T: Tally> Role for TallyRole<T> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    fn versioned(&self) -> bool {
        true
    }

    fn sequenced(&self) -> Option<&dyn Sequenced> {
        Some(self)
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let intake = intake::take(connection, &self.shared, &self.group, batch).await?;
        self.fold_checked(connection, intake).await
    }

    async fn skip(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        intake::skip(connection, &self.shared, &self.group, record).await
    }

    fn forget(&self) {}
}

#[async_trait]
impl<T: Tally> Sequenced for TallyRole<T> {
    async fn decode(&self, batch: &[&Record]) -> Result<Decoded<'_>, WorkError> {
        intake::decoded(&self.shared, &self.group, batch).await
    }

    async fn fold_checked(&self, connection: &mut PgConnection, intake: Intake) -> Result<Folded, WorkError> {
        let sums = sums::<T>(&intake.events)?;
        let rows: Vec<Row<'_, T::Key, T::Amounts>> = sums.iter().map(|(key, sum)| Row { key, sum }).collect();
        let json = serde_json::to_string(&rows);
        let json = json.map_err(|error| {
            WorkError::Refused(Reason::because(format_args!("a sum of {} cannot be written", T::NAME), error))
        })?;
        let store = sqlx::query(AssertSqlSafe(self.store.as_str())).bind(json);
        timed("tally add", store.execute(connection)).await?;
        Ok(Folded { outcomes: intake.outcomes, ..Folded::default() })
    }
}
