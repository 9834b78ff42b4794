//! Millrace's own loop with a role that decodes events and folds nothing: the common work of all roles, and so their lower bound.
//! It claims partitions and moves their offsets in Postgres with every batch. Reading further headers is left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use millrace_engine::access::Access;
use millrace_engine::database::{Pool, worker_pool};
use millrace_engine::supervision::{Restarts, Watch};
use millrace_engine::{
    Buffers, Elastic, Folded, GroupSettings, KafkaSettings, Member, Outcome, Producer, Reason, Record,
    Registry, Role, SharedFetch, WorkError,
};
use millrace_schemas::{Event, Kind};
use millrace_store::Group;
use millrace_store::names::Namespace;
use millrace_testkit::Stack;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::{Tally, Totals};

/// The role whose group it uses: setup creates this role's retry topics, and teardown removes its group.
const PLACE: &str = "events";

// What `millrace run` does unless it is told otherwise.
const BATCH_MAX: usize = 5_000;
const BUFFER_BYTES: usize = 40 << 20;
const CONNECTIONS_MAX: u32 = 16;
const RETRY_DELAYS: [Duration; 3] = [seconds(1), seconds(10), seconds(60)];
const SESSION_TIMEOUT: Duration = seconds(30);
const HEARTBEAT_INTERVAL: Duration = seconds(3);
const TRANSACTION_TIMEOUT: Duration = seconds(20);
const ANSWER_TIMEOUT: Duration = seconds(40);
const AWAITED_TIMEOUT: Duration = seconds(15);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Decoding {
    group: Group,
    pool: Pool,
    registry: Registry,
    totals: Arc<Totals>,
}

/// Works as a member of its group until stopped.
pub(super) async fn run(
    stack: &Stack,
    namespace: &str,
    totals: Arc<Totals>,
    stop: CancellationToken,
) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let namespace = Namespace::new(namespace)?;
    let group = Group { id: namespace.group(PLACE), generation: 1 };
    let url = stack.read_database_url();
    let pool = worker_pool(url, &namespace, TRANSACTION_TIMEOUT, ANSWER_TIMEOUT, CONNECTIONS_MAX)?;
    let registry = Registry::new(stack.schema_registry_url(), Access::default(), AWAITED_TIMEOUT)?;
    let name = group.id.clone();
    let role: Arc<dyn Role> = Arc::new(Decoding { group, pool, registry, totals });
    let roles = HashMap::from([(namespace.topic(Kind::Event, "customers"), role)]);
    join(stack, &name, roles, Watch::new(&stop))?.run().await;
    Ok(())
}

fn join(stack: &Stack, group: &str, roles: HashMap<String, Arc<dyn Role>>, watch: Watch) -> Result<Member> {
    let kafka = KafkaSettings {
        brokers: stack.kafka_brokers().to_owned(),
        session_timeout: SESSION_TIMEOUT,
        heartbeat_interval: HEARTBEAT_INTERVAL,
        properties: HashMap::new(),
    };
    let buffers = Buffers::new(BUFFER_BYTES);
    let settings = GroupSettings {
        batch_max: BATCH_MAX,
        retry_delays: RETRY_DELAYS.into(),
        buffers,
        fetch: SharedFetch::new(&kafka, group, Restarts::default()),
        linger: Duration::ZERO,
        joint: None,
    };
    let producer = Producer::new(&kafka, AWAITED_TIMEOUT)?;
    let elastic = Elastic::new(stack.elasticsearch_url(), Access::default(), AWAITED_TIMEOUT)?;
    Ok(Member::join(&kafka, settings, group, roles, producer, elastic, watch)?)
}

impl Decoding {
    async fn decode(&self, value: &[u8]) -> Result<Event, WorkError> {
        let opened = self.registry.open(Some(value)).await?;
        let (writer, body) = opened.map_err(|fault| WorkError::Refused(fault.message.into()))?;
        Event::decode(&writer, body).map_err(|error| WorkError::Refused(Reason::of(error)))
    }
}

#[async_trait]
impl Role for Decoding {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.pool
    }

    async fn fold(&self, _: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let mut tally = Tally::default();
        for record in batch {
            let value = record.value.as_deref().unwrap_or_default();
            tally.read(value.len());
            tally.found(&self.decode(value).await?);
        }
        let (outcomes, totals) = (vec![Outcome::Applied; batch.len()], self.totals.clone());
        Ok(Folded { outcomes, remember: Some(Box::new(move || totals.add(tally))), ..Folded::default() })
    }

    fn forget(&self) {}
}
