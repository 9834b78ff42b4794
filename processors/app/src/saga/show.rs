//! What `millrace saga show` prints.

use millrace_ops::moment;
use millrace_ops::sagas::{Call, Sent, Shown, Step, Timer};
use millrace_schemas::short_name;

use crate::output::Table;

/// Where the instance stands, its steps, its timers, its open calls, its state.
pub(super) fn text(Shown { instance, history, timers, calls, state }: &Shown) -> String {
    let [started, since] = [instance.started_at, instance.updated_at].map(moment::written);
    let mut text = format!(
        "{}/{}: {} since {since}, started {started}\n",
        instance.saga, instance.instance, instance.standing
    );
    if let Some(stuck) = &instance.stuck {
        text.push_str(&format!("STUCK: {stuck}\n"));
    }
    let kept = i64::try_from(history.len()).unwrap_or(i64::MAX);
    if instance.steps > kept {
        text.push_str(&format!("{} steps were removed (retention.saga_steps)\n", instance.steps - kept));
    }
    text.push_str(&format!("\n{}", steps(history)));
    if !timers.is_empty() {
        text.push_str(&format!("\n{}", timers_table(timers)));
    }
    if !calls.is_empty() {
        text.push_str(&format!("\n{}", calls_table(calls)));
    }
    text.push_str(&format!("\nstate: {state:#}\n"));
    text
}

fn steps(history: &[Step]) -> String {
    let mut table = Table::new(&["step", "at", "input", "standing", "sent"]);
    for Step { number, at, input, standing, sent } in history {
        let sent: Vec<String> = sent.iter().map(command).collect();
        table.row([
            number.to_string(),
            moment::written(*at),
            input.clone(),
            standing.clone(),
            sent.join(", "),
        ]);
    }
    table.render()
}

fn command(Sent { id, type_, became }: &Sent) -> String {
    format!("{} {id} ({became})", short_name(type_))
}

fn timers_table(timers: &[Timer]) -> String {
    let mut table = Table::new(&["timer", "set at", "due at", "failed tries", "error"]);
    for Timer { name, set_at, due_at, failed_tries, error } in timers {
        table.row([
            name.clone(),
            moment::written(*set_at),
            moment::written(*due_at),
            failed_tries.to_string(),
            error.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn calls_table(calls: &[Call]) -> String {
    let mut table = Table::new(&["call", "status", "attempts", "next at", "outcome", "error"]);
    for Call { effect, key, status, attempts, unknown, due_at, error } in calls {
        table.row([
            format!("{effect} {key}"),
            status.clone(),
            attempts.to_string(),
            moment::written(*due_at),
            if *unknown { "unknown" } else { "not made yet" }.to_owned(),
            error.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}
