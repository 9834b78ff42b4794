//! The clocks of a customer: the version up to which each of their streams is written, and up to which each view has folded it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_store::{freshness, stream};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side};
use crate::postgres::Database;

/// Streams of each context, at most, by their ids.
const STREAMS_MAX: i64 = 1_000;
/// SQL views with the streams of a customer: context, column of the stream's id.
const STREAMS: [(&str, &str, &str); 5] = [
    ("account_balances", "accounts", "account_id"),
    ("orders", "orders", "order_id"),
    ("payments", "payments", "order_id"),
    ("subscriptions", "subscriptions", "subscription_id"),
    ("carts", "carts", "cart_id"),
];

/// One stream.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StreamClock")]
pub struct Clock {
    /// Its context.
    pub context: String,
    /// Its id.
    pub stream: String,
    /// The version up to which it is written.
    pub written: i64,
    /// How far the views are.
    pub folded: Vec<Folded>,
}

/// One view.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ViewClock")]
pub struct Folded {
    /// The view.
    pub view: String,
    /// The version up to which it has folded the stream.
    pub version: i64,
    /// The events that it lacks.
    pub behind: i64,
    /// When it applied the last one.
    pub applied_at: Option<DateTime<Utc>>,
}

type Stream = (String, String);
/// View, version, and when it applied that, by stream.
type Shown = BTreeMap<Stream, Vec<(String, i64, Option<DateTime<Utc>>)>>;

/// The clocks of a customer's streams, of those that the read side knows.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn of_customer(config: &Config, customer_id: &str) -> Result<Vec<Clock>, Failure> {
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
    let streams = streams(&read, config, customer_id).await?;
    // The folded versions first: a view is never ahead of what is written.
    let mut folded = Shown::new();
    let shown = freshness::of_streams(&read.pool, &streams).await.map_err(|error| read.failure(error))?;
    for (context, stream, view, version, applied_at) in shown {
        folded.entry((context, stream)).or_default().push((view, version, applied_at));
    }
    let written = stream::versions(&write.pool, &streams).await.map_err(|error| write.failure(error))?;
    let models = layout::read_models(config);
    let clock = |(context, stream, version): (String, String, i64)| {
        let views =
            models.iter().filter(|model| model.table.is_some() && model.contexts.contains(&&*context));
        let views: Vec<&str> = views.map(|model| model.name).collect();
        clock((context, stream), version, &views, &mut folded)
    };
    Ok(written.into_iter().map(clock).collect())
}

/// Of the views that read the stream's context; one that has folded nothing of it is at 0.
fn clock(of: Stream, written: i64, views: &[&str], folded: &mut Shown) -> Clock {
    let mut known = folded.remove(&of).unwrap_or_default();
    let missing = views.iter().filter(|view| !known.iter().any(|(name, ..)| name == *view));
    let missing: Vec<_> = missing.map(|view| ((*view).to_owned(), 0, None)).collect();
    known.extend(missing);
    let views = known.into_iter();
    let folded = |(view, version, applied_at)| Folded {
        view,
        version,
        behind: written.saturating_sub(version),
        applied_at,
    };
    Clock { written, folded: views.map(folded).collect(), context: of.0, stream: of.1 }
}

/// The customer's own streams, and those that the SQL views of this instance name.
async fn streams(read: &Database, config: &Config, customer_id: &str) -> Result<Vec<Stream>, Failure> {
    let own = ["customers", "notifications"].map(|context| (context.to_owned(), customer_id.to_owned()));
    let mut streams = own.to_vec();
    let models = layout::read_models(config);
    for (view, context, column) in STREAMS {
        if !models.iter().any(|model| model.name == view) {
            continue;
        }
        let ids = crate::keys::of_customer(&read.pool, (view, column), customer_id, STREAMS_MAX).await;
        let ids = ids.map_err(|error| read.failure(error))?;
        streams.extend(ids.into_iter().map(|id| (context.to_owned(), id)));
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_behind_by_the_events_that_it_lacks_also_by_all() {
        let of = ("orders".to_owned(), "1".to_owned());
        let shown = vec![("orders".to_owned(), 2, None), ("customers".to_owned(), 3, None)];
        let views = ["customers", "orders", "payments"];
        let clock = clock(of.clone(), 3, &views, &mut BTreeMap::from([(of, shown)]));
        let behind: Vec<(&str, i64)> =
            clock.folded.iter().map(|one| (one.view.as_str(), one.behind)).collect();
        assert_eq!((clock.written, behind), (3, vec![("orders", 1), ("customers", 0), ("payments", 3)]));
    }
}
