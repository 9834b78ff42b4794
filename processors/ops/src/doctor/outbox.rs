//! The replication slot and the connector of the outbox.

use sqlx::PgPool;

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;
use crate::reached::Kept;
use crate::setup::ConnectorState;
use crate::status::Slot;
use crate::status::databases::slot;
use crate::status::services::connector;

pub(super) const PART: &str = "outbox feed";

/// Whether the slot survives a failover (PostgreSQL 17 and later), and the number of standbys.
const FAILOVER: &str = "SELECT (to_jsonb(s) ->> 'failover')::boolean, (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'
    AND application_name <> $2) FROM pg_replication_slots AS s WHERE slot_name = $1";

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let write = Database::of(config, Side::Write)?;
    let mut found = match slot(config, &write).await? {
        None => vec![Finding::wrong(
            PART,
            "there is no replication slot: nothing reaches Kafka",
            "millrace setup",
        )],
        Some(slot) => of_slot(&slot),
    };
    let failover = failover(&write.pool, &config.namespace.outbox()).await;
    found.extend(failover.map_err(|error| write.failure(error))?);
    found.extend(match connector(&mut Kept::default(), config, &write).await? {
        None => Some(Finding::wrong(PART, "there is no connector: nothing reaches Kafka", "millrace setup")),
        Some(state) => of_connector(&config.namespace.outbox(), &state),
    });
    Ok(found)
}

fn of_slot(slot: &Slot) -> Vec<Finding> {
    let kept =
        format!("the slot `{}` keeps {} bytes of WAL ({})", slot.name, slot.kept_bytes, slot.wal_status);
    match (slot.is_lost(), slot.active) {
        (true, _) => vec![Finding::wrong(
            PART,
            format!("the WAL of the slot `{}` is lost", slot.name),
            "docs/operations/runbook.md, MillraceSlotLost",
        )],
        (false, false) => vec![Finding::wrong(
            PART,
            format!("no connector reads from the slot; {kept}"),
            "millrace status; then restart the connector, or Kafka Connect",
        )],
        (false, true) => vec![Finding::fine(PART, kept)],
    }
}

async fn failover(pool: &PgPool, slot: &str) -> sqlx::Result<Option<Finding>> {
    let row: Option<(Option<bool>, i64)> =
        sqlx::query_as(FAILOVER).bind(slot).bind("Debezium Streaming").fetch_optional(pool).await?;
    let Some((Some(false), standbys @ 1..)) = row else { return Ok(None) };
    let what = format!(
        "the slot does not survive a failover to one of {standbys} standbys: events that are not carried by then are lost"
    );
    Ok(Some(Finding::advice(
        PART,
        what,
        "docs/operations/: create the slot with failover and synchronise it (sync_replication_slots)",
    )))
}

fn of_connector(name: &str, state: &ConnectorState) -> Option<Finding> {
    let wrong = |what: String, mend: String| Some(Finding::wrong(PART, what, mend));
    if let Some(trace) = &state.trace {
        return wrong(
            format!("the connector `{name}` has failed: {trace}"),
            "millrace setup restarts it".to_owned(),
        );
    }
    if state.is_paused() {
        let mend = format!("curl -X PUT $CONNECT_URL/connectors/{name}/resume");
        return wrong(format!("the connector `{name}` is {}", state.connector), mend);
    }
    if state.drops_rows {
        return wrong(
            format!("the connector `{name}` skips rows that Kafka refuses"),
            "millrace setup".to_owned(),
        );
    }
    if state.offsets_ahead > 0 {
        let what = format!("Connect's offsets are {} bytes ahead of the server", state.offsets_ahead);
        return wrong(what, "docs/operations/runbook.md, MillraceSlotLost".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn slot(active: bool, wal_status: &str) -> Slot {
        let (name, wal_status) = ("shop_outbox".to_owned(), wal_status.to_owned());
        Slot { name, active, lag_bytes: 0, kept_bytes: 1, wal_status }
    }

    #[test]
    fn a_slot_without_reader_or_without_its_wal_is_wrong() {
        assert_eq!(of_slot(&slot(true, "reserved"))[0].level, Level::Fine);
        assert_eq!(of_slot(&slot(false, "reserved"))[0].level, Level::Wrong);
        assert_eq!(of_slot(&slot(true, "lost"))[0].level, Level::Wrong);
    }
}
