//! Pages for people, which need no token since they are the same everywhere: the one to try the OpenAPI document, and one for each problem.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};
use tower::ServiceExt as _;

use crate::gateway::Gateway;
use crate::problem::{Kind, Meaning, Problem, TYPES};
use crate::unread::Unread;

/// The page, and what it runs: it asks for the token first, since the document is for clients.
const PAGE: &str = include_str!("../pages/index.html");
const SCRIPT: &str = include_str!("../pages/page.js");
/// Scripts and styles of this origin alone. Swagger UI sets styles of elements and has images in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How long a browser keeps them.
const KEPT: &str = "max-age=3600";
/// The files of Swagger UI that the page uses.
const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// Every page.
pub(super) fn router() -> Router<Arc<Gateway>> {
    let page = || async { shown("text/html; charset=utf-8", PAGE) };
    let pages = Router::new()
        .route("/docs", get(page))
        .route("/docs/page.js", get(|| async { shown("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/problems/{name}", get(problem));
    FILES.iter().fold(pages, |pages, file| pages.route(&format!("/docs/{file}"), get(file_of_swagger_ui)))
}

fn shown(kind: &'static str, body: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, KEPT)];
    (headers, body).into_response()
}

/// A file of Swagger UI. The page of that crate is not served: it repeats the URL of the request, and has scripts inside.
async fn file_of_swagger_ui(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, Problem> {
    let source = OpenApiSource::Uri(crate::openapi::PATH);
    let files = generate_routes(ApiDefinition { uri_prefix: "/docs", api_definition: source, title: None });
    let (parts, _) = request.into_parts();
    let asked = Request::from_parts(parts, Body::empty());
    let mut file = files.oneshot(asked).await.map_err(|never| match never {})?;
    file.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static(KEPT));
    Ok(Unread::held([&gateway.pages], file).await)
}

/// What a problem means and what to do.
async fn problem(Path(name): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::new(Kind::UNKNOWN_PATH, "there is no such problem");
    let row = Meaning::of(&name).ok_or_else(unknown)?;
    let (title, name, status) = (escaped(row.title()), row.name, row.status);
    let (meaning, remedy) = (marked(row.meaning), marked(row.remedy));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n<h1>{title}</h1>\n\
         <p><code>{TYPES}{name}</code>, status {status}\n<h2>What it means</h2>\n<p>{meaning}\n<h2>What to do</h2>\n<p>{remedy}\n"
    );
    Ok(([(CACHE_CONTROL, KEPT)], Html(page)).into_response())
}

/// Text of the table: what stands in backticks is code.
fn marked(text: &str) -> String {
    let parts = escaped(text);
    let parts = parts.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_marked_and_nothing_is_markup() {
        assert_eq!(marked("a `b` < `c`"), "a <code>b</code> &lt; <code>c</code>");
    }
}
