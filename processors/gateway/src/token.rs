//! Bearer tokens.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The hash of a token: the time of a comparison says nothing about the token, and the token itself is not kept.
#[derive(Clone)]
pub(crate) struct Token([u8; 32]);

impl Token {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The token of a request; `None` without one.
    pub(crate) fn presented(headers: &HeaderMap) -> Option<Self> {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| Self::of(token.trim()))
    }

    /// Whether both are the same, in a time that does not depend on how much of them is.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(authorization: &'static str) -> bool {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())]);
        Token::presented(&headers).is_some_and(|token| token.is(&Token::of("secret")))
    }

    #[test]
    fn a_token_is_taken_from_the_bearer_scheme_alone() {
        assert!(is_taken("Bearer secret") && is_taken("bearer  secret"));
        for wrong in ["secret", "Basic secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", ""] {
            assert!(!is_taken(wrong), "{wrong}");
        }
        assert!(Token::presented(&HeaderMap::new()).is_none());
    }
}
