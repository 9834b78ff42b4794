//! All that is known of a customer, from the read side.

use millrace_domain::views::customer_360;
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side};
use crate::postgres::Database;

const DOCUMENT: &str = "SELECT customer_360($1)";

/// The document of a customer, as the SQL function has it.
///
/// # Errors
/// [`Failure::NotFound`] when no view knows the customer; [`Failure::Usage`] when the instance lacks a read model that the
/// document needs; [`Failure::Unreachable`].
pub async fn document(config: &Config, customer_id: &str) -> Result<Value, Failure> {
    refuse_lacking(config)?;
    // No id has it, and Postgres refuses it.
    if customer_id.contains('\0') {
        return Err(unknown(customer_id));
    }
    let read = Database::of(config, Side::Read)?;
    let asked = async {
        let document = sqlx::query_scalar(DOCUMENT).bind(customer_id).fetch_one(&read.pool).await;
        document.map_err(|error| read.failure(error))
    };
    let document: Option<Value> = read.in_time(asked).await?;
    document.ok_or_else(|| unknown(customer_id))
}

fn refuse_lacking(config: &Config) -> Result<(), Failure> {
    let models = layout::read_models(config);
    let lacks = |name: &&&str| !models.iter().any(|model| model.name == **name);
    let lacking: Vec<&str> = customer_360::READ_MODELS.iter().filter(lacks).copied().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(Failure::usage(format!(
        "this instance has no view {lacking}, which the document needs: see `contexts`"
    )))
}

fn unknown(customer_id: &str) -> Failure {
    Failure::NotFound(format!(
        "no view knows the customer `{customer_id}`; one that was just registered is there once the views have it"
    ))
}
