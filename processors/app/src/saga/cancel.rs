//! `millrace saga cancel`.

use millrace_engine::sagas::Cancelled;
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::outage;
use millrace_ops::postgres::Database;
use millrace_ops::roles::Roles;
use serde_json::json;

use super::{Cancel, Id};
use crate::output::{self, Format};

/// Cancels an instance, in one transaction with the commands that follow and the audit row.
pub(super) async fn cancel(config: &Config, format: Format, options: &Cancel) -> Result<(), Failure> {
    let Cancel { id, why, who } = options;
    let (write, roles) = (Database::of(config, Side::Write)?, Roles::new(config)?);
    let fail = |error| write.failure(error);
    let mut transaction = write.pool.begin().await.map_err(fail)?;
    let missing = || Failure::NotFound(format!("there is no instance {id}"));
    let saga = roles.saga_named(&id.saga).ok_or_else(missing)?;
    let asked = saga.cancel(&mut transaction, &id.instance, why).await;
    let asked = asked.map_err(|error| outage::failure(config, Side::Write, error))?;
    match asked.ok_or_else(missing)? {
        Cancelled::Step => {}
        Cancelled::Nothing => {
            return Err(Failure::refused(format!(
                "{id} has nothing to cancel where it stands: see `millrace saga show {id}`"
            )));
        }
        Cancelled::Ended(standing) => {
            return Err(Failure::refused(format!(
                "{id} has ended ({standing}): there is nothing to cancel; `millrace saga show {id}` tells how it came there"
            )));
        }
    }
    let operator = Operator::new(who.as_deref(), why);
    let signed = operator.sign(&mut transaction, "saga cancel", &id.to_string(), &json!({})).await;
    signed.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    done(format, id)
}

fn done(format: Format, id: &Id) -> Result<(), Failure> {
    let text = format!("{id} is being cancelled; `millrace saga show {id}` tells how far it is\n");
    output::print(format, &text, &json!({"cancelled": id.to_string()}))
}
