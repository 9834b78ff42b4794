//! Templates of messages, and the personal text that is made of them.

use super::refusals;
use crate::rules::{self, Checked, Text, quoted};

pub(super) const SUBJECT: Text = Text::new("subject", rules::refusals::SUBJECT_INVALID, 1, 200);
pub(super) const MESSAGE: Text = Text::new("message", refusals::MESSAGE_INVALID, 1, 2_000).of_lines();

/// Placeholders in a template, at most, which bounds the personal text.
const PLACEHOLDERS_MAX: usize = 10;
const KNOWN: &str = "{name}, {contact_name} or {customer_id}, and {{ or }} for a brace";

/// The recipient of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient<'r> {
    /// The customer.
    pub customer_id: &'r str,
    /// Company or person.
    pub name: &'r str,
    /// The person to talk to; without one it is the name.
    pub contact_name: Option<&'r str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Name,
    ContactName,
    CustomerId,
}

/// The text of a template for a recipient.
pub fn personal(template: &str, recipient: &Recipient<'_>) -> String {
    let Recipient { customer_id, name, contact_name } = *recipient;
    let text = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Name => name,
        Piece::ContactName => contact_name.unwrap_or(name),
        Piece::CustomerId => customer_id,
    };
    // A campaign was created with templates that can be read.
    pieces(template).unwrap_or_else(|_| vec![Piece::Text(template)]).into_iter().map(text).collect()
}

/// Checks the placeholders of a field.
pub(super) fn check(field: &str, template: &str) -> Checked {
    let refuse =
        |problem| refusals::PLACEHOLDER_INVALID.because(format!("{field} has {problem}: send {KNOWN}"));
    let pieces = pieces(template).map_err(refuse)?;
    let placeholders = pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count();
    if placeholders > PLACEHOLDERS_MAX {
        let message = format!("{field} has {placeholders} placeholders: send at most {PLACEHOLDERS_MAX}");
        return Err(refusals::PLACEHOLDER_INVALID.because(message));
    }
    Ok(())
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some((text, brace)) = rest.find(['{', '}']).and_then(|at| rest.split_at_checked(at)) {
        let (piece, after) = at_brace(brace)?;
        pieces.extend([Piece::Text(text), piece]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// What begins with a brace, and what comes behind it.
fn at_brace(text: &str) -> Result<(Piece<'_>, &str), String> {
    for (doubled, brace) in [("{{", "{"), ("}}", "}")] {
        if let Some(after) = text.strip_prefix(doubled) {
            return Ok((Piece::Text(brace), after));
        }
    }
    let closed = text.strip_prefix('{').and_then(|inner| inner.split_once('}'));
    let (name, after) = closed.ok_or("a brace that stands alone")?;
    let piece = match name {
        "name" => Piece::Name,
        "contact_name" => Piece::ContactName,
        "customer_id" => Piece::CustomerId,
        other => return Err(format!("the unknown placeholder {}", quoted(other))),
    };
    Ok((piece, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: Recipient<'_> =
        Recipient { customer_id: "ANATR", name: "Emparedados", contact_name: Some("Ana {name}") };

    #[test]
    fn placeholders_are_replaced_once_and_doubled_braces_are_braces() {
        let template = "Dear {contact_name} of {name},\n{{{customer_id}}} }}{{";
        assert_eq!(personal(template, &ANA), "Dear Ana {name} of Emparedados,\n{ANATR} }{");
        let without = Recipient { contact_name: None, ..ANA };
        assert_eq!(personal("{contact_name}", &without), "Emparedados");
    }

    #[test]
    fn unknown_placeholders_and_lonely_braces_are_refused() {
        let refusal = |template| check("message", template).expect_err("it is refused").message;
        assert!(
            refusal("Dear {nome}").starts_with(r#"message has the unknown placeholder "nome": send {name}"#)
        );
        for template in ["a { b", "a } b", "{", "}", "{name", "{}", "{{name}"] {
            assert!(refusal(template).contains("{contact_name}"), "{template}");
        }
        assert!(check("message", &"{name}".repeat(10)).is_ok());
        assert!(refusal(&"{name}".repeat(11)).contains("at most 10"));
    }
}
