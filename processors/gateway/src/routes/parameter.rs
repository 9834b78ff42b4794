//! The one parameter of the query string that routes of commands and receipts have, and batches have not.

use axum::extract::Query;
use axum::http::Uri;

use crate::problem::{FieldError, Kind, Problem};

/// The value of the parameter; `None` without it.
pub(super) fn only(uri: &Uri, name: &str) -> Result<Option<String>, Problem> {
    let given = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(given) = given.map_err(|_| refused("", "the query string cannot be read"))?;
    match given.as_slice() {
        [] => Ok(None),
        [(known, value)] if known == name => Ok(Some(value.clone())),
        [(other, _)] => Err(refused(other, &format!("is not a parameter; there is: {name}"))),
        _ => Err(refused(name, "is the only parameter, and there once")),
    }
}

/// Refuses every parameter; `why` there is none.
pub(super) fn none(uri: &Uri, why: &str) -> Result<(), Problem> {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
    let name = query.split(['=', '&']).next().unwrap_or_default();
    Err(refused(name, why))
}

/// A parameter is wrong.
pub(super) fn refused(path: &str, message: &str) -> Problem {
    let errors = [FieldError { path: path.to_owned(), message: message.to_owned() }];
    Problem::new(Kind::PARAMETERS, "1 parameter is wrong").with("errors", errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_parameter_each_is_refused() {
        let of = |uri: &'static str| none(&Uri::from_static(uri), "is none").is_ok();
        assert!(of("/v1/commands") && of("/v1/commands?"));
        assert!(!of("/v1/commands?dry_run=true") && !of("/v1/commands?x") && !of("/v1/commands?&a=%zz"));
    }
}
