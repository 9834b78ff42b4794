//! The outcomes of commands as a producer reads them: from Kafka alone, decoded with the schema that each record names.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::{CommandOutcome, WriterSchema, definition, unframe};

use crate::instance::Instance;

/// An outcome, with the key of its record and its headers `ce_id` and `causation-id`.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The key.
    pub key: String,
    /// The id of the outcome.
    pub id: String,
    /// The id of the command.
    pub cause: String,
    /// What it says.
    pub outcome: CommandOutcome,
}

/// Source, id, status, code, versions and life of a receipt.
type Receipt = (String, String, String, Option<String>, Option<String>, i32);

impl Instance {
    /// The outcomes on the topic of a context, each partition in its order.
    pub fn answers(&self, context: &str) -> Vec<Answer> {
        let schema = definition("CommandOutcome").expect("a record of the contract").avsc;
        let writer = WriterSchema::parse(schema).expect("a schema");
        let records = self.kafka.all(&self.topic("out", context)).into_iter().map(|placed| placed.raw);
        let answer = |raw: crate::Raw| {
            let text = |name: &str| raw.text(name).expect(name).to_owned();
            let (_, body) = unframe(raw.value.as_deref().expect("a value")).expect("a frame");
            let key = String::from_utf8(raw.key.clone().expect("a key")).expect("text");
            assert_eq!(text("ce_type"), "millrace.CommandOutcome");
            let outcome = writer.decode(body).expect("an outcome");
            Answer { key, id: text("ce_id"), cause: text("causation-id"), outcome }
        };
        records.map(answer).collect()
    }

    /// Of an instance that has settled: each command has one outcome for each of its lives, the last one says what its receipt
    /// says, and there are no others. Returns their number.
    pub async fn assert_each_command_has_its_outcome(&self) -> usize {
        let mut told: BTreeMap<(String, String), Vec<CommandOutcome>> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for Answer { key, id, cause, outcome } in self.contexts.iter().flat_map(|one| self.answers(one)) {
            assert!(ids.insert(id), "there twice: {outcome:?}");
            assert_eq!((&key, &cause), (&outcome.stream, &outcome.command_id));
            let identity = (outcome.command_source.clone(), outcome.command_id.clone());
            told.entry(identity).or_default().push(outcome);
        }
        let sql = "SELECT source, id, status, code, versions::text, life FROM command";
        let receipts: Vec<Receipt> = sqlx::query_as(sql).fetch_all(&self.write).await.expect("receipts");
        for (source, id, status, code, versions, life) in receipts {
            let mut outcomes = told.remove(&(source, id.clone())).unwrap_or_default();
            outcomes.sort_by_key(|outcome| outcome.life);
            let lives: Vec<i32> = outcomes.iter().map(|outcome| outcome.life).collect();
            assert_eq!(lives, (1..=life).collect::<Vec<_>>(), "{id}: {outcomes:?}");
            let last = outcomes.pop().expect("a last one");
            assert!(outcomes.iter().all(|earlier| earlier.status == "dead"), "{id}: {outcomes:?}");
            assert_eq!((&last.status, &last.code), (&status, &code), "{id}");
            let expected: BTreeMap<String, i64> =
                versions.map_or_else(BTreeMap::new, |text| serde_json::from_str(&text).expect("versions"));
            let versions = last.versions.into_iter().map(|one| (one.stream, one.version));
            assert_eq!(versions.collect::<BTreeMap<_, _>>(), expected, "{id}");
        }
        assert!(told.is_empty(), "outcomes without a receipt: {told:?}");
        ids.len()
    }
}
