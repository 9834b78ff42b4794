//! What `millrace saga list` prints.

use chrono::{DateTime, Utc};
use millrace_ops::moment;
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
            span(now, one.started_at),
            span(now, one.updated_at),
            one.steps.to_string(),
            one.awaiting.join(", "),
            one.due_at.map(|due_at| span(due_at, now)).unwrap_or_default(),
            one.stuck.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// A timer that is overdue has a minus.
fn span(later: DateTime<Utc>, earlier: DateTime<Utc>) -> String {
    let span = moment::shown((later - earlier).abs().to_std().unwrap_or_default());
    if later < earlier { format!("-{span}") } else { span }
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
        assert_eq!(line, "fulfilment/7 paying 1m 40s 1m 0s 3 RequestPayment 3m 20s no step since");
    }
}
