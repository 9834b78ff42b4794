//! Reading one's own writes: a request waits until the views that answer it have folded a version of a stream.

use std::time::Duration;

use axum::http::HeaderMap;
use millrace_store::freshness;
use tokio::sync::Semaphore;

use super::route::{Route, Source};
use super::{Queries, Unanswered};
use crate::problem::FieldError;

/// The header, such as `customers/ann:3`: context and stream as in a receipt, and the version.
pub(crate) const MIN_VERSION: &str = "min-version";
/// The delay before the second question; each further one is twice as long, up to [`ASKED_AT_LEAST_EVERY`].
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(10);
const ASKED_AT_LEAST_EVERY: Duration = Duration::from_millis(160);

/// A version of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeastVersion {
    context: String,
    stream: String,
    version: i64,
}

/// What became of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Every view has the version.
    Yes,
    /// The view that is behind has this version.
    Only(i64),
}

impl LeastVersion {
    /// The version that a request asks for, if it does.
    ///
    /// # Errors
    /// When the header cannot be read, or the route cannot wait for it.
    pub(crate) fn asked(
        queries: &Queries,
        route: &Route,
        headers: &HeaderMap,
    ) -> Result<Option<Self>, FieldError> {
        let mut values = headers.get_all(MIN_VERSION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let refuse = |message: String| FieldError { path: "Min-Version".to_owned(), message };
        if values.next().is_some() {
            return Err(refuse("is there more than once".to_owned()));
        }
        let least = std::str::from_utf8(value.as_bytes()).ok().and_then(Self::read);
        let least = least.ok_or_else(|| {
            refuse("must be context, stream and version, such as customers/ann:3".to_owned())
        })?;
        if matches!(route.source, Source::Documents(_)) {
            return Err(refuse(
                "is not for searches: documents become visible some time after the views".to_owned(),
            ));
        }
        if queries.folding(route, &least.context).is_empty() {
            return Err(refuse(format!("this answer does not depend on streams of `{}`", least.context)));
        }
        Ok(Some(least))
    }

    fn read(text: &str) -> Option<Self> {
        let (context, rest) = text.split_once('/')?;
        let (stream, version) = rest.rsplit_once(':')?;
        let version = version.parse().ok().filter(|version| *version > 0)?;
        let fits = !context.is_empty() && !stream.is_empty();
        fits.then(|| Self { context: context.to_owned(), stream: stream.to_owned(), version })
    }
}

impl Queries {
    /// The views of a route that fold streams of a context.
    fn folding(&self, route: &Route, context: &str) -> Vec<&'static str> {
        let folds = |view: &&&str| {
            self.views.iter().any(|(name, contexts)| *name == **view && contexts.contains(&context))
        };
        route.views().iter().filter(folds).copied().collect()
    }

    /// Waits until the views of a route have the version, for some time, in one of the places that its caller has.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn reach(
        &self,
        route: &Route,
        least: &LeastVersion,
        (within, own): (Duration, &Semaphore),
    ) -> Result<Reached, Unanswered> {
        let Some(mut version) = self.behind(route, least).await? else { return Ok(Reached::Yes) };
        let (own, place) = (own.try_acquire(), self.waiting.try_acquire());
        let (Ok(_own), Ok(_place)) = (own, place) else { return Err(Unanswered::Full) };
        let until = tokio::time::Instant::now() + within;
        let mut pause = ASKED_AGAIN_AFTER;
        while tokio::time::Instant::now() + pause <= until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASKED_AT_LEAST_EVERY);
            match self.behind(route, least).await {
                Ok(None) => return Ok(Reached::Yes),
                Ok(Some(behind)) => version = behind,
                // Others ask at this moment.
                Err(Unanswered::Full) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Reached::Only(version))
    }

    /// The version of the view that does not have this one.
    async fn behind(&self, route: &Route, least: &LeastVersion) -> Result<Option<i64>, Unanswered> {
        for view in self.folding(route, &least.context) {
            let stream = (least.context.as_str(), least.stream.as_str());
            let reached = self.in_time(async {
                freshness::reached(&self.pool, view, stream).await.map_err(Unanswered::Database)
            });
            let reached = reached.await?.unwrap_or_default();
            if reached < least.version {
                return Ok(Some(reached));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_whatever_the_stream_is_called() {
        let least = |text| LeastVersion::read(text).map(|least| (least.context, least.stream, least.version));
        let of = |stream: &str| Some(("customers".to_owned(), stream.to_owned(), 3));
        assert_eq!((least("customers/ann:3"), least("customers/a/b:c:3")), (of("ann"), of("a/b:c")));
        for other in [
            "",
            "customers",
            "customers/ann",
            "customers/ann:",
            "customers/ann:0",
            "customers/:3",
            "/ann:3",
            "customers/ann:x",
        ] {
            assert_eq!(least(other), None, "{other}");
        }
    }
}
