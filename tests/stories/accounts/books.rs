//! An independent model of accounts: it reads the events, and does not use the code that decides or folds them.

use std::collections::{BTreeMap, VecDeque};

use millrace_schemas::{Event, WriterSchema, definition, unframe};
use serde_json::Value;
use sqlx::PgPool;

/// An event of the outbox.
#[derive(Debug)]
struct Happened {
    type_: &'static str,
    data: Value,
    command: String,
}

/// An account.
#[derive(Debug, Default)]
struct Account {
    balance: i64,
    overdraft: i64,
    entries: i64,
}

/// Everything that has happened and was not read yet, and the accounts as far as it was read.
pub(super) struct Books {
    unread: BTreeMap<String, VecDeque<Happened>>,
    /// The number of events of each command.
    sizes: BTreeMap<String, usize>,
    accounts: BTreeMap<String, Account>,
    /// What came from outside, less what went there.
    from_outside: i64,
    transfers: usize,
}

/// The final state of the books.
pub(super) struct Closing {
    pub(super) balances: BTreeMap<String, i64>,
    pub(super) from_outside: i64,
    pub(super) transfers: usize,
}

impl Books {
    /// Opens the outbox.
    pub(super) async fn open(write: &PgPool) -> Self {
        let rows: Vec<(String, String, Vec<u8>, String)> = sqlx::query_as(
            "SELECT aggregateid, type, payload, command_id FROM outbox
             WHERE aggregatetype = 'accounts' AND version IS NOT NULL ORDER BY aggregateid, version",
        )
        .fetch_all(write)
        .await
        .expect("the outbox");
        let (mut unread, mut sizes) = (BTreeMap::<_, VecDeque<_>>::new(), BTreeMap::new());
        for (stream, type_, payload, command) in rows {
            *sizes.entry(command.clone()).or_default() += 1;
            let (type_, data) = event(&type_, &payload);
            unread.entry(stream).or_default().push_back(Happened { type_, data, command });
        }
        Self { unread, sizes, accounts: BTreeMap::new(), from_outside: 0, transfers: 0 }
    }

    /// Reads decision by decision, each when all its events are the next of their streams, so that every version of
    /// every account is seen in an order in which the decisions can have been made. After each of them all money is
    /// there, and no account is below its overdraft.
    pub(super) fn read(mut self) -> Closing {
        while self.unread.values().any(|events| !events.is_empty()) {
            let command = self.next();
            let events = self.take(&command);
            self.transfers += usize::from(is_transfer(&events));
            for (account, event) in &events {
                self.apply(account, event);
            }
            let sum: i64 = self.accounts.values().map(|account| account.balance).sum();
            assert_eq!(sum, self.from_outside, "after {command}");
        }
        let balances = self.accounts.into_iter().map(|(id, account)| (id, account.balance)).collect();
        Closing { balances, from_outside: self.from_outside, transfers: self.transfers }
    }

    /// A command all of whose events are next. One may lead to several events of an account.
    fn next(&self) -> String {
        let mut next: BTreeMap<&str, usize> = BTreeMap::new();
        for events in self.unread.values() {
            let Some(first) = events.front() else { continue };
            let together = events.iter().take_while(|event| event.command == first.command);
            *next.entry(&first.command).or_default() += together.count();
        }
        let whole = next.into_iter().find(|(command, events)| self.sizes[*command] == *events);
        let (command, _) = whole.expect("a decision whose events are all next");
        command.to_owned()
    }

    fn take(&mut self, command: &str) -> Vec<(String, Happened)> {
        let mut taken = Vec::new();
        for (account, events) in &mut self.unread {
            while events.front().is_some_and(|event| event.command == command) {
                taken.extend(events.pop_front().map(|event| (account.clone(), event)));
            }
        }
        taken
    }

    fn apply(&mut self, id: &str, event: &Happened) {
        let number =
            |field: &str| event.data[field].as_i64().unwrap_or_else(|| panic!("{field} of {event:?}"));
        let account = self.accounts.entry(id.to_owned()).or_default();
        let moved = match event.type_ {
            "AccountOpened" => {
                account.overdraft = number("overdraft");
                return;
            }
            "MoneyDeposited" | "TransferReceived" => number("amount"),
            "MoneyWithdrawn" | "TransferSent" => -number("amount"),
            other => panic!("{other} is not of this story"),
        };
        account.balance += moved;
        account.entries += 1;
        assert_eq!(
            (account.balance, account.entries),
            (number("balance"), number("entry")),
            "{id}: {event:?}"
        );
        assert!(account.balance >= -account.overdraft, "{id} is overdrawn: {event:?}");
        if !event.type_.starts_with("Transfer") {
            self.from_outside += moved;
        }
    }
}

/// Whether a decision was a transfer. One has two sides that say the same.
fn is_transfer(events: &[(String, Happened)]) -> bool {
    let side = |type_: &str| {
        let mut sides = events.iter().filter(|(_, event)| event.type_ == type_);
        let side = sides.next();
        assert!(sides.next().is_none(), "a decision has one {type_} at most");
        side
    };
    let ((from, sent), (to, received)) = match (side("TransferSent"), side("TransferReceived")) {
        (Some(sent), Some(received)) => (sent, received),
        (None, None) => return false,
        _ => panic!("a transfer has one side: {events:?}"),
    };
    for field in ["transfer_id", "amount", "currency"] {
        assert_eq!(sent.data[field], received.data[field], "{field} of {sent:?}");
    }
    assert_eq!(sent.data["counterparty"], *to);
    assert_eq!(received.data["counterparty"], *from);
    true
}

/// Its short name and its fields.
fn event(type_: &str, payload: &[u8]) -> (&'static str, Value) {
    let definition = definition(type_).expect("a type of the contract");
    let writer = WriterSchema::parse(definition.avsc).expect("its schema");
    let (_, body) = unframe(payload).expect("a frame");
    let event = Event::decode(&writer, body).expect("an event");
    (definition.name, serde_json::to_value(&event).expect("JSON"))
}
