//! Example values of this crate's types, for tests here and in the crates that display them.

use std::collections::BTreeMap;

use chrono::DateTime;

use crate::dead_letters::{CopyAt, Id, Letter};
use crate::failure::{Failure, Service};
use crate::layout::Side;
use crate::setup::ConnectorState;
use crate::status::{Facts, Kafka, Lag, Report, Slot, Subjects};

/// A dead letter of the write side, whose message has two lines.
pub fn letter() -> Letter {
    Letter {
        id: Id { side: Side::Write, row: 12 },
        failed_at: DateTime::UNIX_EPOCH,
        group: "shop.commands".to_owned(),
        generation: 1,
        topic: "shop.cmd.orders.v1".to_owned(),
        partition: 2,
        offset: 42,
        key: Some("10248".to_owned()),
        type_: Some("millrace.orders.PlaceOrder".to_owned()),
        code: "reference-not-found".to_owned(),
        message: "no customer\n`ann`".to_owned(),
        attempts: 4,
        status: "dead".to_owned(),
        version: None,
        stream: None,
        copy: Some(CopyAt { partition: 0, offset: 3 }),
    }
}

fn refused<T>() -> Result<T, Failure> {
    Err(Failure::refused("refused"))
}

/// A status in which no component has answered.
pub fn report_of_nothing() -> Report {
    Report {
        namespace: "m".to_owned(),
        groups: vec![(Side::Write, "commands"), (Side::Read, "orders")],
        members: refused(),
        kafka: refused(),
        write: refused(),
        read: refused(),
        slot: refused(),
        connector: refused(),
        subjects: refused(),
        indices: refused(),
        process: None,
        generations: refused(),
        unfit: refused(),
        resets: Ok(Vec::new()),
        sound: Ok(()),
        under_way: refused(),
    }
}

/// A status in which only the read side has not answered; there is no replication slot, and a group is behind.
pub fn report_in_part() -> Report {
    let lag = Lag {
        group: "m.commands".to_owned(),
        topic: "m.cmd.orders.v1".to_owned(),
        records: 3,
        seconds: Some(1.25),
        ..Lag::default()
    };
    Report {
        members: Ok(BTreeMap::from([("m.commands".to_owned(), 1)])),
        kafka: Ok(Kafka { topics: Vec::new(), lags: vec![lag] }),
        write: Ok(Facts::default()),
        read: Err(Failure::unreachable(Service::ReadDatabase, "postgres://db", "refused")),
        slot: Ok(None),
        connector: Ok(Some(connector())),
        subjects: Ok(Subjects { count: 3, missing: Vec::new() }),
        indices: Ok(Vec::new()),
        generations: Ok(Vec::new()),
        unfit: Ok(Vec::new()),
        under_way: Ok(Vec::new()),
        ..report_of_nothing()
    }
}

/// A status without problems.
pub fn report_that_is_well() -> Report {
    let (name, wal_status) = ("m_outbox".to_owned(), "reserved".to_owned());
    let slot = Slot { name, active: true, lag_bytes: 0, kept_bytes: 0, wal_status };
    Report { read: Ok(Facts::default()), slot: Ok(Some(slot)), ..report_in_part() }
}

/// A connector that runs without a task yet.
pub fn connector() -> ConnectorState {
    ConnectorState {
        connector: "RUNNING".to_owned(),
        task: None,
        trace: None,
        offsets_ahead: 0,
        drops_rows: false,
    }
}
