//! Cancelling an instance of a saga.

use millrace_engine::sagas::Cancelled;
use serde_json::json;

use super::id::Id;
use crate::audit::Operator;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::outage;
use crate::postgres::Database;
use crate::roles::Roles;

/// Cancels an instance, in one transaction with the commands that follow and the audit row.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such instance, [`Failure::Refused`] when it has ended or has nothing to cancel in its
/// standing; when the database does not answer.
pub async fn cancel(config: &Config, id: &Id, operator: &Operator) -> Result<(), Failure> {
    let (write, roles) = (Database::of(config, Side::Write)?, Roles::new(config)?);
    let fail = |error| write.failure(error);
    let mut transaction = write.pool.begin().await.map_err(fail)?;
    let missing = || Failure::NotFound(format!("there is no instance {id}"));
    let saga = roles.saga_named(&id.saga).ok_or_else(missing)?;
    let asked = saga.cancel(&mut transaction, &id.instance, &operator.why).await;
    let asked = asked.map_err(|error| outage::failure(config, Side::Write, error))?;
    refuse_unless_taken(id, asked.ok_or_else(missing)?)?;
    let signed = operator.sign(&mut transaction, "saga cancel", &id.to_string(), &json!({})).await;
    signed.map_err(fail)?;
    transaction.commit().await.map_err(fail)
}

fn refuse_unless_taken(id: &Id, cancelled: Cancelled) -> Result<(), Failure> {
    match cancelled {
        Cancelled::Step => Ok(()),
        Cancelled::Nothing => Err(Failure::refused(format!(
            "{id} has nothing to cancel where it stands: see `millrace saga show {id}`"
        ))),
        Cancelled::Ended(standing) => Err(Failure::refused(format!(
            "{id} has ended ({standing}): there is nothing to cancel; `millrace saga show {id}` shows how it came there"
        ))),
    }
}
