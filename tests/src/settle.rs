//! The backlog of an instance, and waiting until there is none.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgPool;

use crate::instance::Instance;
use crate::patience::{as_long_as_it_moves, eventually};

/// The backlog, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Commands that are not decided.
    pub commands: i64,
    /// Outbox rows that are not in Kafka.
    pub outbox: i64,
    /// Events that are not folded, summed over the groups.
    pub events: i64,
    /// Events whose documents are not in Elasticsearch, summed over the groups.
    pub documents: i64,
    /// Keys of both sides whose record is being retried.
    pub retries: i64,
}

/// Group, topic, partition, applied, published.
type OffsetRow = (String, String, i32, i64, i64);
/// The offset behind the last record of each partition, by topic.
type Ends = BTreeMap<String, BTreeMap<i32, i64>>;
/// Context and stream.
type Stream = (String, String);

impl Instance {
    /// The current backlog.
    pub async fn backlog(&self) -> Backlog {
        self.look(&self.all_ends())
            .await
            .unwrap_or_else(|error| panic!("the backlog of {}: {error}", self.name))
    }

    /// Waits until every command is decided, and every event is folded and published by every view.
    pub async fn settle(&self) {
        self.settled(Backlog::default()).await;
        as_long_as_it_moves("every stream is folded to its end", async || self.folded_to_the_end().await)
            .await;
    }

    /// Waits until every command is decided and the outbox is in Kafka, whether or not it is folded.
    pub async fn settle_commands(&self) {
        as_long_as_it_moves("every command is decided", async || match self.look(&self.all_ends()).await? {
            Backlog { commands: 0, outbox: 0, retries: 0, .. } => Ok(()),
            backlog => Err(format!("{backlog:?}")),
        })
        .await;
    }

    async fn settled(&self, goal: Backlog) {
        let mut before = None;
        as_long_as_it_moves("nothing is to be done", async || {
            let ends = self.all_ends();
            let backlog = self.look(&ends).await?;
            let same = before.replace(ends.clone()) == Some(ends);
            if backlog == goal && same { Ok(()) } else { Err(format!("{backlog:?}, topics grow: {}", !same)) }
        })
        .await;
    }

    /// Waits until at least this many commands are decided.
    pub async fn decided(&self, at_least: i64) {
        eventually(&format!("{at_least} commands are decided"), async || {
            let decided = self.count("SELECT count(*) FROM command").await?;
            if decided >= at_least { Ok(()) } else { Err(decided.to_string()) }
        })
        .await;
    }

    /// One number of the write side.
    pub async fn count(&self, sql: &'static str) -> Result<i64, String> {
        sqlx::query_scalar(sql).fetch_one(&self.write).await.map_err(|error| error.to_string())
    }

    async fn look(&self, ends: &Ends) -> Result<Backlog, String> {
        let mut backlog = Backlog::default();
        let decided = offsets(&self.write, DECIDED).await?;
        let folded = offsets(&self.read, FOLDED).await?;
        for context in &self.contexts {
            let topic = self.topic("cmd", context);
            backlog.commands += behind(&decided, &self.group("commands"), &topic, ends).0;
        }
        for view in self.views_set_up().await? {
            for context in view.contexts {
                let topic = self.topic("evt", context);
                let (applied, published) = behind(&folded, &self.group(view.name), &topic, ends);
                backlog.events += applied;
                backlog.documents += published;
            }
        }
        for pool in [&self.write, &self.read] {
            let retrying = "SELECT count(*) FROM blocked_key WHERE status = 'retrying'";
            let keys = sqlx::query_scalar::<_, i64>(retrying).fetch_one(pool).await;
            backlog.retries += keys.map_err(|error| error.to_string())?;
        }
        // Read last, so that decided commands have their rows.
        backlog.outbox = self.waiting_in_outbox(ends).await?;
        Ok(backlog)
    }

    async fn waiting_in_outbox(&self, ends: &Ends) -> Result<i64, String> {
        let rows = sqlx::query_as("SELECT topic, count(*) FROM outbox GROUP BY topic").fetch_all(&self.write);
        let rows: Vec<(String, i64)> = rows.await.map_err(|error| error.to_string())?;
        Ok(rows.iter().map(|(topic, rows)| (rows - ends[topic].values().sum::<i64>()).max(0)).sum())
    }

    /// Asserts that the topics carry what is in the outbox: every row, each stream's in order. Only after a crash of
    /// Connect may a row be there twice.
    pub async fn assert_topics_carry_the_outbox(&self, twice: bool) {
        for topic in self
            .contexts
            .iter()
            .flat_map(|context| ["evt", "rej", "out"].map(|kind| self.topic(kind, context)))
        {
            let mut seen = BTreeSet::new();
            let mut versions: BTreeMap<Option<Vec<u8>>, i64> = BTreeMap::new();
            for record in self.kafka.all(&topic) {
                let new = seen.insert(record.raw.text("ce_id").expect("ce_id").to_owned());
                assert!(new || twice, "{topic} has a record twice: {record:?}");
                let version = record.raw.text("ce_sequence").filter(|_| new).map(|text| text.parse::<i64>());
                if let Some(version) = version {
                    let before =
                        versions.insert(record.raw.key.clone(), version.expect("a version")).unwrap_or(0);
                    assert_eq!(
                        versions[&record.raw.key],
                        before + 1,
                        "{topic}: versions in order: {record:?}"
                    );
                }
            }
            let rows =
                sqlx::query_scalar::<_, String>("SELECT id::text FROM outbox WHERE topic = $1").bind(&topic);
            let rows =
                rows.fetch_all(&self.write).await.expect("the outbox").into_iter().collect::<BTreeSet<_>>();
            assert_eq!(seen, rows, "{topic} and the outbox");
        }
    }

    fn all_ends(&self) -> Ends {
        let topics = self
            .contexts
            .iter()
            .flat_map(|context| ["cmd", "evt", "rej", "out"].map(|kind| self.topic(kind, context)));
        topics.map(|topic| (topic.clone(), self.kafka.ends(&topic))).collect()
    }

    /// The sequence check: each view has folded each of its streams exactly as far as it was written.
    async fn folded_to_the_end(&self) -> Result<(), String> {
        let written =
            versions(&self.write, "SELECT context, id, version FROM stream WHERE version > 0", "").await?;
        for view in self.views_set_up().await?.iter().filter(|view| view.table) {
            let sql = "SELECT context, stream, min(version) FROM progress WHERE grp = $1 AND generation > 0 GROUP BY 1, 2";
            let folded = versions(&self.read, sql, &self.group(view.name)).await?;
            let of_view =
                written.iter().filter(|((context, _), _)| view.contexts.contains(&context.as_str()));
            for (stream, version) in of_view {
                let reached = folded.get(stream).copied().unwrap_or(0);
                if reached < *version {
                    return Err(format!("{} has folded {stream:?} to {reached} of {version}", view.name));
                }
            }
        }
        Ok(())
    }
}

/// How many records of a topic a group has not applied, and not published.
fn behind(offsets: &[OffsetRow], group: &str, topic: &str, ends: &Ends) -> (i64, i64) {
    let (mut applied, mut published) = (0, 0);
    for (partition, end) in &ends[topic] {
        let row = offsets.iter().find(|row| row.0 == group && row.1 == topic && row.2 == *partition);
        // The topic may have further records.
        applied += (end - row.map_or(0, |row| row.3)).max(0);
        published += (end - row.map_or(0, |row| row.4)).max(0);
    }
    (applied, published)
}

const DECIDED: &str = "SELECT grp, topic, partition, applied, published FROM consumer_offset";
/// Of several generations the one that is furthest behind.
const FOLDED: &str =
    "SELECT grp, topic, partition, min(applied), min(published) FROM consumer_offset GROUP BY 1, 2, 3";

async fn offsets(pool: &PgPool, sql: &'static str) -> Result<Vec<OffsetRow>, String> {
    let rows = sqlx::query_as(sql);
    rows.fetch_all(pool).await.map_err(|error| error.to_string())
}

async fn versions(pool: &PgPool, sql: &'static str, group: &str) -> Result<BTreeMap<Stream, i64>, String> {
    let query = sqlx::query_as::<_, (String, String, i64)>(sql);
    let query = if group.is_empty() { query } else { query.bind(group) };
    let rows = query.fetch_all(pool).await.map_err(|error| error.to_string())?;
    Ok(rows.into_iter().map(|(context, id, version)| ((context, id), version)).collect())
}
