//! Who changed what by hand, and why: the table `audit`.

use millrace_store::audit::{self, Action};
use serde_json::Value;
use sqlx::PgConnection;

/// An operator who changes something by hand, with the reason.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Who it is.
    pub who: String,
    /// The reason.
    pub why: String,
}

impl Operator {
    /// The given name, else the user's name in the environment.
    pub fn new(who: Option<&str>, why: &str) -> Self {
        let named = |name: &str| std::env::var(name).ok().filter(|who| !who.is_empty());
        let who = who.map(str::to_owned).or_else(|| named("USER")).or_else(|| named("LOGNAME"));
        Self { who: who.unwrap_or_else(|| "unknown".to_owned()), why: why.to_owned() }
    }

    /// Writes down an action in the transaction that does it.
    pub async fn sign(
        &self,
        connection: &mut PgConnection,
        action: &str,
        subject: &str,
        details: &Value,
    ) -> sqlx::Result<()> {
        let Self { who, why } = self;
        audit::insert(connection, &Action { who, action, subject, why, details }).await
    }
}
