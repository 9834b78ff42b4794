//! `millrace saga show`.

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::postgres::Database;
use millrace_schemas::short_name;
use millrace_store::command;
use millrace_store::parked::Waiting;
use millrace_store::saga::{self, Filter};
use millrace_store::saga_step::{self, Step};
use millrace_store::saga_timer::{self, Timer};
use serde_json::{Value, json};

use super::Id;
use super::found::{Found, find};
use crate::ledger;
use crate::output::{self, Format, Table};

/// All that is known of an instance.
struct Shown {
    found: Found,
    state: Value,
    steps: Vec<Step>,
    timers: Vec<Timer>,
    /// What became of the commands: id, status, code.
    receipts: Vec<(String, String, Option<String>)>,
    /// Those that are tried again, or wait behind one that is.
    waiting: Vec<Waiting>,
}

/// Shows an instance.
pub(super) async fn show(config: &Config, format: Format, id: &Id) -> Result<(), Failure> {
    let write = Database::of(config, Side::Write)?;
    let shown = look(config, &write, id).await.map_err(|error| write.failure(error))?;
    let shown = shown.ok_or_else(|| Failure::NotFound(format!("there is no instance {id}")))?;
    output::print(format, &shown.text(), &shown.json())
}

async fn look(config: &Config, write: &Database, id: &Id) -> sqlx::Result<Option<Shown>> {
    let (saga, instance) = (id.saga.as_str(), id.instance.as_str());
    let filter = Filter {
        saga: Some(saga),
        instance: Some(instance),
        ended: true,
        stuck_after: std::time::Duration::from_secs(15 * 60),
        limit: 1,
        ..Filter::default()
    };
    let Some(found) = find(config, &write.pool, &filter).await?.into_iter().next() else { return Ok(None) };
    let state = saga::state(&write.pool, saga, instance).await?;
    let steps = saga_step::of_instance(&write.pool, saga, instance).await?;
    let timers = saga_timer::of_instance(&write.pool, saga, instance).await?;
    let sent: Vec<&str> = steps.iter().flat_map(|step| step.4.iter().map(|(id, _)| id.as_str())).collect();
    let source = config.namespace.source();
    let receipts = command::outcomes(&write.pool, &source, &sent).await?;
    let mut waiting = ledger::waiting(config, &write.pool, &sent).await?;
    waiting.retain(|one| one.source == source);
    Ok(Some(Shown { found, state, steps, timers, receipts, waiting }))
}

impl Shown {
    fn text(&self) -> String {
        let Found { saga, instance, standing, started_at, stuck, .. } = &self.found;
        let mut text = format!("{saga}/{instance}: {standing}, since {}\n", output::time(*started_at));
        if let Some(stuck) = stuck {
            text.push_str(&format!("STUCK: {stuck}\n"));
        }
        text.push('\n');
        let mut steps = Table::new(&["step", "at", "input", "standing", "sent"]);
        for (number, at, input, standing, sent) in &self.steps {
            let sent: Vec<String> = sent
                .iter()
                .map(|(id, type_)| format!("{} {id} ({})", short_name(type_), self.became(id)))
                .collect();
            let (number, at) = (number.to_string(), output::time(at.0));
            steps.row([number, at, input.clone(), standing.clone(), sent.join(", ")]);
        }
        text.push_str(&steps.render());
        if !self.timers.is_empty() {
            let mut timers = Table::new(&["timer", "set at", "due at", "failed tries", "error"]);
            for (name, set_at, due_at, attempts, error) in &self.timers {
                let (set_at, due_at) = (output::time(set_at.0), output::time(due_at.0));
                timers.row([
                    name.clone(),
                    set_at,
                    due_at,
                    attempts.to_string(),
                    error.clone().unwrap_or_default(),
                ]);
            }
            text.push_str(&format!("\n{}", timers.render()));
        }
        text.push_str(&format!("\nstate: {:#}\n", self.state));
        text
    }

    /// What became of a command.
    fn became(&self, id: &str) -> String {
        if let Some(waiting) = self.waiting.iter().find(|one| one.id == id) {
            return ledger::waits_for(&waiting.waits_for);
        }
        match self.receipts.iter().find(|(known, ..)| known == id) {
            None => "not decided yet".to_owned(),
            Some((_, status, None)) => status.clone(),
            Some((_, status, Some(code))) => format!("{status}: {code}"),
        }
    }

    fn json(&self) -> Value {
        let mut json = self.found.json();
        let steps = self.steps.iter().map(|(number, at, input, standing, sent)| {
            let sent: Vec<Value> = sent
                .iter()
                .map(|(id, type_)| json!({"id": id, "type": type_, "became": self.became(id)}))
                .collect();
            json!({"step": number, "at": output::time(at.0), "input": input, "standing": standing, "sent": sent})
        });
        let steps: Vec<Value> = steps.collect();
        let timers = self.timers.iter().map(|(name, set_at, due_at, attempts, error)| {
            json!({
                "timer": name, "set_at": output::time(set_at.0), "due_at": output::time(due_at.0),
                "failed_tries": attempts, "error": error,
            })
        });
        let timers: Vec<Value> = timers.collect();
        if let Value::Object(fields) = &mut json {
            fields.insert("history".to_owned(), Value::Array(steps));
            fields.insert("timers".to_owned(), Value::Array(timers));
            fields.insert("state".to_owned(), self.state.clone());
        }
        json
    }
}
