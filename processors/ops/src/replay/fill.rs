//! Fills a generation from the outbox, when Kafka no longer has all events. Then it continues in Kafka at the offsets of the
//! serving generation, and is compared and swapped like any other.

use std::sync::Arc;

use millrace_engine::{Elastic, Role, dead_letters};
use millrace_store::consumer_offset::{self, Stand};
use millrace_store::names::table;
use millrace_store::{Place, replay};
use sqlx::PgConnection;

use super::build;
use super::generations::Generations;
use super::session;
use crate::config::Config;
use crate::failure::Failure;
use crate::keys;
use crate::layout::{ReadModel, Side};
use crate::listener::Listener;
use crate::outage;
use crate::outbox::refold::Refold;
use crate::postgres::Database;
use crate::roles::Roles;

struct Fill<'f> {
    config: &'f Config,
    read: &'f Database,
    model: &'f ReadModel,
    role: Arc<dyn Role>,
    serving: i32,
    next: i32,
    listener: &'f dyn Listener,
}

/// Fills the next generation of a view and records it as building. After a crash, the same call continues.
///
/// # Errors
/// [`Failure::Refused`] when a generation is being built already, or an event cannot be folded.
pub async fn fill(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    accept_differences: bool,
    listener: &dyn Listener,
) -> Result<i32, Failure> {
    if model.table.is_none() {
        return Err(Failure::refused(format!(
            "`{name}` is a log, a document for each event: `millrace verify {name} --repair` makes those that are missing \
             from the outbox",
            name = model.name
        )));
    }
    let fail = |error| read.failure(error);
    let mut connection = session::open(read).await.map_err(fail)?;
    if !session::alone(&mut connection, "fill", &config.namespace, model.name).await.map_err(fail)? {
        return Err(Failure::refused(format!("{} is being filled by another process", model.name)));
    }
    let next = build::prepare(config, read, model).await?;
    let generations = Generations::of(read, model.name).await?;
    if let Some(building) = generations.building() {
        let number = building.generation;
        return Err(Failure::refused(format!(
            "generation {number} of {} is being built: wait for it, or remove it with --retire",
            model.name
        )));
    }
    let roles = Roles::new(config)?;
    let no_view = || Failure::usage(format!("this build has no view `{}`", model.name));
    let role = roles.view(model.name, next).ok_or_else(no_view)?;
    let serving = generations.serving()?;
    let fill = Fill { config, read, model, role, serving, next, listener };
    fill.run(&mut connection, roles.elastic(), accept_differences).await.map(|()| next)
}

impl Fill<'_> {
    async fn run(
        &self,
        connection: &mut PgConnection,
        elastic: &Elastic,
        accept_differences: bool,
    ) -> Result<(), Failure> {
        let fail = |error| self.read.failure(error);
        let write = Database::of(self.config, Side::Write)?;
        let refold = Refold::new(self.config, [&write, self.read], self.role.clone(), self.serving);
        let mut refold = refold.with_listener(self.listener);
        refold.follow(connection).await?;
        // Later changes are published by the members, which read them from Kafka.
        let published = self.stand(connection).await.map_err(fail)?;
        refold.follow(connection).await?;
        self.publish(connection, elastic).await?;
        let mut snapshot = session::snapshot(connection).await.map_err(fail)?;
        refold.finish(&mut snapshot).await?;
        if let Some(((context, stream), why)) = refold.stuck.first() {
            return Err(Failure::refused(format!("{context}/{stream} cannot be folded: {why}")));
        }
        self.stand_as(&mut snapshot, &published).await.map_err(fail)?;
        let place = (self.model.name, self.next);
        let (why, shape) = ("--from-outbox", &self.model.shape);
        let recorded = replay::insert(&mut snapshot, place, "operator", why, accept_differences, shape);
        recorded.await.map_err(fail)?;
        snapshot.commit().await.map_err(fail)
    }

    async fn stand(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Stand>> {
        let (group, topics) = (&self.role.group().id, self.model.topics(&self.config.namespace));
        consumer_offset::stands_in(connection, (group, self.serving), &topics).await
    }

    /// Publishes the document of every row; refused ones become dead letters.
    async fn publish(&self, connection: &mut PgConnection, elastic: &Elastic) -> Result<(), Failure> {
        let column = self.model.table.as_ref().and_then(|table| table.key.first());
        let (Some(index), Some(column)) = (self.role.index(), column) else { return Ok(()) };
        let outage = |error| outage::failure(self.config, Side::Read, error);
        // A refusal is not about a record: the letter names a topic of the view.
        let topic = self.model.topics(&self.config.namespace).into_iter().next().unwrap_or_default();
        let at = Place { topic, partition: 0, offset: 0 };
        let (table, mut after, mut sent) = (table(self.model.name, self.next), String::new(), 0);
        loop {
            let keys = keys::after(connection, (&table, column), &after, None).await;
            let keys = keys.map_err(|error| self.read.failure(error))?;
            let Some(last) = keys.last() else { break };
            after.clone_from(last);
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let documents = self.role.documents_of(connection, &keys).await.map_err(outage)?;
            let refusals = elastic.bulk(index, &documents).await.map_err(outage)?;
            for refusal in &refusals {
                let refused = dead_letters::refused(connection, self.role.group(), &at, index, refusal);
                refused.await.map_err(outage)?;
            }
            sent += documents.len() - refusals.len();
        }
        self.listener.say(&format!("{sent} documents sent"));
        Ok(())
    }

    /// Sets the generation's offsets to those of the serving one in this snapshot, or to an earlier one if a record waits that
    /// the serving one has not folded. A record of a deleted topic, whose offset is below zero, is no longer in Kafka: `millrace
    /// verify --repair` writes what is missing of it again, after all other records.
    async fn stand_as(&self, connection: &mut PgConnection, published: &[Stand]) -> sqlx::Result<()> {
        let (group, topics) = (self.role.group().id.as_str(), self.model.topics(&self.config.namespace));
        consumer_offset::stand_as(connection, (group, self.serving, self.next), &topics, published).await
    }
}
