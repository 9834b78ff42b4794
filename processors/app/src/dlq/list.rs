//! What `millrace dlq list` prints.

use millrace_ops::dead_letters::Letter;
use millrace_ops::moment;
use millrace_schemas::short_name;

use crate::output::Table;

/// A line for each letter.
pub(super) fn table(letters: &[Letter]) -> String {
    let head = [
        "id",
        "status",
        "failed at",
        "group",
        "topic/partition/offset",
        "key",
        "type",
        "code",
        "attempts",
        "message",
    ];
    let mut table = Table::new(&head);
    for letter in letters {
        let type_ = letter.type_.as_deref().unwrap_or_default();
        table.row([
            letter.id.to_string(),
            letter.status.clone(),
            moment::written(letter.failed_at),
            letter.group.clone(),
            place(letter),
            letter.key.clone().unwrap_or_default(),
            short_name(type_).to_owned(),
            letter.code.clone(),
            letter.attempts.to_string(),
            letter.message.clone(),
        ]);
    }
    table.render()
}

fn place(letter: &Letter) -> String {
    format!("{}/{}/{}", letter.topic, letter.partition, letter.offset)
}

#[cfg(test)]
mod tests {
    use millrace_ops::examples;
    use serde_json::json;

    use super::*;

    #[test]
    fn letters_are_listed_a_line_each() {
        let text = table(&[examples::letter()]);
        let (head, line) = text.split_once('\n').unwrap();
        assert!(head.starts_with("ID   STATUS  FAILED AT") && head.ends_with("ATTEMPTS  MESSAGE"), "{head}");
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>().join(" "),
            "w12 dead 1970-01-01T00:00:00.000Z shop.commands shop.cmd.orders.v1/2/42 10248 PlaceOrder \
             reference-not-found 4 no customer `ann`"
        );
    }

    #[test]
    fn programs_get_every_field() {
        let json = json!([examples::letter()]);
        assert_eq!(json[0]["id"], "w12");
        assert_eq!(json[0]["type"], "millrace.orders.PlaceOrder");
        assert_eq!(json[0]["copy"], json!({"partition": 0, "offset": 3}));
    }
}
