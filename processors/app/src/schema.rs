//! `millrace schema`: shows the contract with producers, and checks commands against it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_domain::registry;
use millrace_ops::config::Config;
use millrace_ops::contract;
use millrace_ops::failure::Failure;
use millrace_ops::send::{self, Checked};
use millrace_schemas::{Definition, Field, Kind, described, example};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::input::open;
use crate::output::{self, Format, Table};
use crate::progress::Terminal;

/// The help's examples and notes.
pub const HELP: &str = "\
None of it needs Kafka, the registry or a database.

Examples:
  millrace schema list --context orders                 the commands of a context
  millrace schema show PlaceOrder                       topic, key, fields, an example, and how it can be refused
  millrace schema show PlaceOrder --avsc > PlaceOrder.avsc
                                                        the Avro schema, for a producer in any language
  millrace schema example PlaceOrder | millrace send -  sends an example
  millrace schema example                               one of each command, in an order in which all are completed
  millrace schema check orders.jsonl                    would `millrace send` take all of them?";

/// What to do with the contract.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the commands of this instance's contexts
    List {
        /// Only of this context
        #[arg(long)]
        context: Option<String>,
    },
    /// Show a command, an event or the rejection: topic, key, fields, example, refusals
    Show(Show),
    /// Print an example for `millrace send`; without a name, one of each command
    Example {
        /// A command's short or full name
        name: Option<String>,
    },
    /// Check commands like `millrace send`, without sending them
    Check {
        /// A file of commands, which are JSON objects; `-` is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

/// Options of `schema show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A short or full name
    name: String,
    /// Only the Avro schema, as in the registry
    #[arg(long)]
    avsc: bool,
}

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such schema; [`Failure::Refused`] when a command of a file would not be sent.
pub fn schema(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List { context } => list(config, format, context.as_deref()),
        Action::Show(options) => show(config, format, options),
        Action::Example { name: None } => {
            let lines: Vec<&str> = millrace_schemas::examples().collect();
            output::write(&format!("{}\n", lines.join("\n")))
        }
        Action::Example { name: Some(name) } => {
            let command = contract::command(name).map_err(Failure::NotFound)?;
            output::write(&format!("{}\n", example(command).unwrap_or_default()))
        }
        Action::Check { file } => {
            let checked = send::check(config, open(file)?, &Terminal::default())?;
            let Checked { good, refused } = checked;
            output::print(format, &format!("good {good}, refused {refused}\n"), &checked)?;
            if refused == 0 { Ok(()) } else { Err(Failure::refused(format!("{refused} would not be sent"))) }
        }
    }
}

fn list(config: &Config, format: Format, context: Option<&str>) -> Result<(), Failure> {
    if let Some(context) = context {
        millrace_ops::known::among("context", context, &config.contexts)?;
    }
    let all = contract::commands(config);
    let of: Vec<&Definition> = all.filter(|one| context.is_none_or(|name| one.context == name)).collect();
    let contracts: Vec<Contract> = of.iter().map(|one| contract(config, one)).collect();
    output::print(format, &table(&of), &contracts)
}

fn table(commands: &[&Definition]) -> String {
    let mut table = Table::new(&["command", "context", "key", "what it does"]);
    for command in commands {
        table.row([command.name, command.context, command.key, described(command).0.as_str()]);
    }
    table.render()
}

fn show(config: &Config, format: Format, Show { name, avsc }: &Show) -> Result<(), Failure> {
    let definition = contract::named(name)?;
    if *avsc {
        return output::write(&format!("{}\n", definition.avsc.trim_end()));
    }
    output::print(format, &text(config, definition), &contract(config, definition))
}

/// The topic of a record; a rejection is on that of the command's context.
fn topic(config: &Config, definition: &Definition) -> String {
    let context = if definition.context.is_empty() { "<context>" } else { definition.context };
    config.namespace.topic(definition.kind, context)
}

fn text(config: &Config, definition: &Definition) -> String {
    let (doc, fields) = described(definition);
    let mut facts = Table::new(&[]);
    facts.row(["subject", definition.full_name]);
    facts.row(["ce_type", definition.full_name]);
    facts.row(["topic", &topic(config, definition)]);
    facts.row(["key", definition.key]);
    let mut table = Table::new(&["field", "type", "default", "meaning"]);
    for Field { path, kind, default, doc } in fields {
        table.row([path, kind, default.map(|value| value.to_string()).unwrap_or_default(), doc]);
    }
    let (facts, fields) = (facts.render(), table.render());
    format!("{}: {doc}\n\n{facts}\n{fields}{}", definition.name, of_a_command(definition))
}

fn of_a_command(definition: &Definition) -> String {
    if definition.kind != Kind::Command {
        return String::new();
    }
    let mut table = Table::new(&["code", "refused when"]);
    for refusal in registry::refusals(definition.context) {
        table.row([refusal.code, refusal.when]);
    }
    let (context, example) = (definition.context, example(definition).unwrap_or_default());
    format!("\nExample:\n{example}\n\nCodes of {context}:\n{}", table.render())
}

/// What producers of a record, or readers, need to know.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Contract {
    /// Its short name.
    name: &'static str,
    /// Its full name, which is that of its subject in the registry.
    subject: &'static str,
    /// Its context; empty of the rejection, which all contexts have.
    context: &'static str,
    /// What it means, for people.
    doc: String,
    /// Its topic.
    topic: String,
    /// The field that is its Kafka key.
    key: &'static str,
    /// Its fields, each followed by those within it.
    fields: Vec<ContractField>,
    /// A command for `millrace send`; `null` of an event and of the rejection.
    example: Value,
    /// Its Avro schema.
    schema: Value,
}

/// A field of a record.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContractField {
    /// The path to it, such as `lines[].quantity`.
    path: String,
    /// Its type in words.
    #[serde(rename = "type")]
    kind: String,
    /// What it is when it is not given; a field without a default must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    /// What it means, for people.
    doc: String,
}

impl From<Field> for ContractField {
    fn from(Field { path, kind, default, doc }: Field) -> Self {
        Self { path, kind, default, doc }
    }
}

fn contract(config: &Config, definition: &Definition) -> Contract {
    let (doc, fields) = described(definition);
    let example: Value =
        example(definition).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let schema: Value = serde_json::from_str(definition.avsc).unwrap_or_default();
    Contract {
        name: definition.name,
        subject: definition.full_name,
        context: definition.context,
        doc,
        topic: topic(config, definition),
        key: definition.key,
        fields: fields.into_iter().map(Into::into).collect(),
        example,
        schema,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::definition;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_shown_with_all_that_its_producer_needs() {
        let (config, command) = (Config::default(), definition("PlaceOrder").expect("PlaceOrder"));
        let text = text(&config, command);
        for part in [
            "PlaceOrder: Places an order.",
            "topic    millrace.cmd.orders.v1",
            "lines[].discount_bp",
            "Example:\n{\"type\":\"PlaceOrder\"",
            "order-empty",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = json!(contract(&config, command));
        assert_eq!((&json["key"], &json["example"]["type"]), (&json!("order_id"), &json!("PlaceOrder")));
    }

    #[test]
    fn a_rejection_lies_on_the_topic_of_its_commands_context() {
        let rejection = definition("CommandRejected").expect("CommandRejected");
        let text = text(&Config::default(), rejection);
        assert!(text.contains("millrace.rej.<context>.v1") && !text.contains("Example"), "{text}");
    }
}
