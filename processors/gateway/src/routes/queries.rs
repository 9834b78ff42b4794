//! Queries: `GET` of every route of the table, and the preview of rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use millrace_ops::config::Subject;

use super::body::body;
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::headers::{JSON, expect, wait};
use crate::problem::{FieldError, Kind, Problem};
use crate::queries::route::{Route, Shape, Source};
use crate::queries::table::{PREVIEW, ROUTES};
use crate::queries::{Asked, LeastVersion, MIN_VERSION, Queries, Reached, SegmentRequest, Unanswered};

/// When a client may ask again while the read side does not answer, in seconds.
const RETRY_AFTER: u16 = 5;
/// When a client may ask again that was refused for the lack of room, in seconds.
const FULL_RETRY_AFTER: u16 = 1;
/// How long a request waits for its version when it does not say.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// Every query.
pub(super) fn router() -> Router<Arc<Gateway>> {
    let each = ROUTES.iter().fold(Router::new(), |router, route| {
        let answer = move |gateway, client, request| answer(gateway, client, route, request);
        router.route(route.path, get(answer))
    });
    each.route(PREVIEW, post(preview))
}

async fn answer(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    route: &'static Route,
    request: Request,
) -> Result<Response, Problem> {
    let queries = allowed(&gateway, &client, route.subject)?;
    if !queries.has(route) {
        return Err(Problem::new(Kind::UNKNOWN_PATH, "this instance has not the views of this query"));
    }
    let (mut parts, _) = request.into_parts();
    let (asked, least) = read(queries, route, &mut parts).await?;
    if let Some(least) = least {
        reach(&gateway, &client, (queries, route), &least, &parts.headers).await?;
    }
    let answer = queries.answer(route, &asked).await.map_err(unanswered)?;
    match &route.source {
        Source::Rows(rows) if matches!(rows.shape, Shape::One) => {
            answer.one(&parts.headers).ok_or_else(unknown)
        }
        _ => Ok(answer.list(&parts.headers)),
    }
}

/// The read side, if the client may query this.
fn allowed<'g>(gateway: &'g Gateway, client: &Client, subject: Subject) -> Result<&'g Queries, Problem> {
    if !client.may_query(subject) {
        let detail = format!("the client may not query `{}`", subject.as_str());
        return Err(Problem::new(Kind::FORBIDDEN, detail));
    }
    let off =
        || Problem::new(Kind::UNKNOWN_PATH, "this gateway answers no queries: gateway.reader_url is not set");
    gateway.queries.as_ref().ok_or_else(off)
}

/// The request, with everything that is wrong with it at once.
async fn read(
    queries: &Queries,
    route: &Route,
    parts: &mut Parts,
) -> Result<(Asked, Option<LeastVersion>), Problem> {
    let refuse = |path: &str, message: &str| {
        refused(vec![FieldError { path: path.to_owned(), message: message.to_owned() }])
    };
    let id = match route.named() {
        Some(name) => {
            let named = Path::<HashMap<String, String>>::from_request_parts(parts, &()).await;
            let Path(mut named) = named.map_err(|_| refuse(name, "must be UTF-8"))?;
            named.remove(name)
        }
        None => None,
    };
    let given = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let Query(given) = given.map_err(|_| refuse("", "the query string cannot be read"))?;
    let (asked, least) =
        (Asked::read(route, id, &given), LeastVersion::asked(queries, route, &parts.headers));
    match (asked, least) {
        (Ok(asked), Ok(least)) => Ok((asked, least)),
        (Ok(_), Err(wrong)) => Err(refused(vec![wrong])),
        (Err(errors), Ok(_)) => Err(refused(errors)),
        (Err(errors), Err(wrong)) => Err(refused(errors.into_iter().chain([wrong]).collect())),
    }
}

async fn reach(
    gateway: &Gateway,
    client: &Client,
    (queries, route): (&Queries, &Route),
    least: &LeastVersion,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let within = wait(headers, gateway.wait_max()).unwrap_or(VERSION_WITHIN.min(gateway.wait_max()));
    let reached =
        gateway.stop.run_until_cancelled(queries.reach(route, least, (within, &client.versions))).await;
    match reached.transpose().map_err(unanswered)? {
        Some(Reached::Yes) => Ok(()),
        Some(Reached::Only(version)) => {
            let problem = Problem::new(Kind::VERSION, "the views do not have this version yet; ask again");
            Err(problem.with("version", version).retry_after(FULL_RETRY_AFTER))
        }
        None => {
            Err(Problem::new(Kind::VERSION, "the gateway stops; ask again").retry_after(FULL_RETRY_AFTER))
        }
    }
}

/// The audience of rules in the body.
async fn preview(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    request: Request,
) -> Result<Response, Problem> {
    let queries = allowed(&gateway, &client, Subject::Campaigns)?;
    if !queries.has_view("customers") {
        return Err(Problem::new(Kind::UNKNOWN_PATH, "this instance has not the views of this query"));
    }
    expect(JSON, request.headers())?;
    if request.headers().contains_key(MIN_VERSION) {
        let message = "is for queries that name what they ask for".to_owned();
        return Err(refused(vec![FieldError { path: "Min-Version".to_owned(), message }]));
    }
    let request = SegmentRequest::read(body(request).await?).map_err(refused)?;
    // What is not a GET is answered whatever the caller has.
    Ok(queries.preview(&request).await.map_err(unanswered)?.list(&HeaderMap::new()))
}

fn refused(errors: Vec<FieldError>) -> Problem {
    let detail = match errors.len() {
        1 => "1 parameter is wrong".to_owned(),
        count => format!("{count} parameters are wrong"),
    };
    Problem::new(Kind::PARAMETERS, detail).with("errors", errors)
}

fn unknown() -> Problem {
    Problem::new(
        Kind::UNKNOWN_RESOURCE,
        "the view does not have it; what was just written is there a little later",
    )
}

fn unanswered(error: Unanswered) -> Problem {
    let wrong = |path: &str, message: String| refused(vec![FieldError { path: path.to_owned(), message }]);
    let away = |kind| Problem::new(kind, "try again").retry_after(RETRY_AFTER);
    match error {
        Unanswered::Full => Problem::new(Kind::FULL, "too many queries are under way; try again")
            .retry_after(FULL_RETRY_AFTER),
        Unanswered::TooLarge => {
            wrong("limit", "the answer would be too large: ask for fewer items".to_owned())
        }
        Unanswered::OtherCursor => wrong("after", "is not a cursor of this list".to_owned()),
        Unanswered::OtherText(reason) => wrong("q", format!("cannot be searched for: {reason}")),
        Unanswered::NoSegment => unknown(),
        Unanswered::Rules(path, message) => {
            let errors = [FieldError { path, message }];
            Problem::new(Kind::RULES, "1 rule is wrong").with("errors", errors)
        }
        Unanswered::TooSlow => {
            Problem::new(Kind::SLOW_QUERY, "gateway.query_timeout is the limit: ask for less")
                .retry_after(RETRY_AFTER)
        }
        Unanswered::Database(error) if is_timeout(&error) => unanswered(Unanswered::TooSlow),
        Unanswered::Database(error) => {
            tracing::warn!(%error, "the read side does not answer a query");
            away(Kind::QUERIES)
        }
        Unanswered::Search(error) if error.is_timeout() => unanswered(Unanswered::TooSlow),
        error @ (Unanswered::Search(_) | Unanswered::Status(_)) => {
            tracing::warn!(%error, "Elasticsearch does not answer a query");
            away(Kind::SEARCHES)
        }
        error @ Unanswered::Unreadable(_) => {
            tracing::error!(%error, "an answer of the read side cannot be read");
            Problem::new(Kind::PANIC, "the log has more under this request's id")
        }
    }
}

/// `query_canceled` and `transaction_timeout`.
fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("57014" | "25P04"))
}
