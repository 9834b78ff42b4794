//! Audiences of campaigns, from the views of the read side.

use std::time::Duration;

use async_trait::async_trait;
use millrace_domain::effects::audience::{Audience, Found, Wanted};
use millrace_engine::Reason;
use millrace_engine::effects::{CallError, Provider};
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;
use crate::read_side;

/// The read side.
pub(super) struct Audiences(Database);

impl Audiences {
    /// Connects when first used.
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self(Database::of(config, Side::Read)?))
    }
}

#[async_trait]
impl Provider<Audience> for Audiences {
    /// The query changes nothing and can always be repeated.
    fn key_window(&self) -> Option<Duration> {
        Some(Duration::MAX)
    }

    async fn call(&self, _: Uuid, request: &Wanted) -> Result<Found, CallError> {
        let sql = request.sql().map_err(|error| CallError::Refused(Reason::of(error)))?;
        let rows = read_side::customers(sql).map_err(unavailable)?.fetch_all(&self.0.pool).await;
        Ok(Found::of(rows.map_err(unavailable)?.into_iter().map(read_side::customer).collect()))
    }

    /// Results are not stored.
    async fn ask(&self, _: Uuid, _: &Wanted) -> Result<Option<Found>, CallError> {
        Ok(None)
    }
}

fn unavailable(error: sqlx::Error) -> CallError {
    CallError::Unavailable(Reason::of(error))
}
