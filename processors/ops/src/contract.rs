//! The contract with producers: the commands that an instance accepts, by name.

use millrace_schemas::{DEFINITIONS, Definition, Kind, definition, short_name};

use crate::config::Config;
use crate::failure::Failure;
use crate::known::closest;

/// The commands of the instance's contexts.
pub fn commands(config: &Config) -> impl Iterator<Item = &'static Definition> {
    let commands = DEFINITIONS.iter().filter(|definition| definition.kind == Kind::Command);
    commands.filter(|definition| config.has(definition.context))
}

/// A record type by its short or full name.
///
/// # Errors
/// [`Failure::NotFound`] with the closest name.
pub fn named(name: &str) -> Result<&'static Definition, Failure> {
    let all = DEFINITIONS.iter().map(|definition| definition.name);
    definition(name).ok_or_else(|| Failure::NotFound(format!("there is no schema {}", unknown(name, all))))
}

/// A command by its short or full name.
///
/// # Errors
/// A text for people, with the closest name.
pub fn command(name: &str) -> Result<&'static Definition, String> {
    match definition(name) {
        Some(found) if found.kind == Kind::Command => Ok(found),
        Some(_) => Err(format!("`{name}` is not a command: it is what Millrace answers")),
        None => {
            let commands = DEFINITIONS.iter().filter(|definition| definition.kind == Kind::Command);
            Err(format!("there is no command {}", unknown(name, commands.map(|definition| definition.name))))
        }
    }
}

/// An unknown name, with the closest one. Does not list all names, since each line of a file may have an unknown one.
fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let short: String = name.chars().take(NAME_SHOWN_MAX).collect();
    let known: Vec<&str> = known.collect();
    let meant = closest(short_name(&short), &known).and_then(definition);
    match meant {
        Some(meant) if meant.name == short_name(&short) => format!("`{short}`: it is `{}`", meant.full_name),
        Some(meant) => format!("`{short}`: did you mean `{}`?", meant.name),
        None => format!("`{short}`: `millrace schema list` has all"),
    }
}

/// Characters of a name in a message, at most.
const NAME_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_command_has_is_refused_with_the_one_that_was_meant() {
        let refusal = |name: &str| command(name).unwrap_err();
        assert_eq!(
            refusal("RegisterCustmer"),
            "there is no command `RegisterCustmer`: did you mean `RegisterCustomer`?"
        );
        assert_eq!(
            refusal("millrace.orders.RegisterCustomer"),
            "there is no command `millrace.orders.RegisterCustomer`: it is `millrace.customers.RegisterCustomer`"
        );
        assert_eq!(refusal("xyz"), "there is no command `xyz`: `millrace schema list` has all");
        assert!(refusal("OrderPlaced").ends_with("is not a command: it is what Millrace answers"));
        assert!(refusal(&"x".repeat(100_000)).len() < 200);
        assert!(named("OrderPlaced").is_ok() && matches!(named("OrderPlace"), Err(Failure::NotFound(_))));
    }
}
