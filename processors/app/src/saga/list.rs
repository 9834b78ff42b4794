//! What `millrace saga list` prints.

use chrono::{DateTime, Utc};
use millrace_ops::sagas::Instance;

use crate::output::Table;

/// A line for each instance.
pub(super) fn table(found: &[Instance], now: DateTime<Utc>) -> String {
    let mut table = Table::new(&[
        "saga/instance",
        "standing",
        "age",
        "last step",
        "steps",
        "waits for",
        "timer in",
        "stuck",
    ]);
    for one in found {
        table.row([
            format!("{}/{}", one.saga, one.instance),
            one.standing.clone(),
            seconds(now, one.started_at),
            seconds(now, one.updated_at),
            one.steps.to_string(),
            one.awaiting.join(", "),
            one.due_at.map(|due_at| seconds(due_at, now)).unwrap_or_default(),
            one.stuck.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn seconds(later: DateTime<Utc>, earlier: DateTime<Utc>) -> String {
    format!("{} s", (later - earlier).num_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_stands_out() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let one = Instance {
            saga: "fulfilment".to_owned(),
            instance: "7".to_owned(),
            standing: "paying".to_owned(),
            ended: false,
            steps: 3,
            started_at: at(0),
            updated_at: at(40),
            due_at: Some(at(300)),
            awaiting: vec!["RequestPayment".to_owned()],
            stuck: Some("no step since".to_owned()),
        };
        let text = table(&[one], at(100));
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "fulfilment/7 paying 100 s 60 s 3 RequestPayment 200 s no step since");
    }
}
