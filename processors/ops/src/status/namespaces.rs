//! The existing instances.

use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::Side;
use crate::postgres::Database;

/// The namespaces whose schema on the write side has an outbox.
const SET_UP: &str = "
    SELECT n.nspname::text FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid
    WHERE c.relname = 'outbox' AND c.relkind = 'r' ORDER BY 1";

/// Refuses a namespace that was never set up, and names the existing ones. If the database does not answer, nothing is refused.
///
/// # Errors
/// [`Failure::NotFound`].
pub async fn refuse_unknown(config: &Config) -> Result<(), Failure> {
    let write = Database::of(config, Side::Write)?;
    let Ok(there) = sqlx::query_scalar::<_, String>(SET_UP).fetch_all(&write.pool).await else {
        return Ok(());
    };
    let ours = config.namespace.database_schema();
    if there.iter().any(|name| name == ours) {
        return Ok(());
    }
    let instead = known::instead(ours, &there);
    Err(Failure::NotFound(format!(
        "the namespace `{ours}` is not set up (`millrace setup` does so){instead}"
    )))
}
