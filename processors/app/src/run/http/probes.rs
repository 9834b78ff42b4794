//! What `/livez` and `/readyz` answer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use millrace_engine::release;
use millrace_engine::supervision::{State as Standing, Task};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ANSWER_WITHIN, Probes};

/// 503 when the worker threads run nothing, since only a restart helps then; every task of the process with its state.
pub(super) async fn live(State(probes): State<Probes>) -> Response {
    let alive = timeout(ANSWER_WITHIN, probes.work.spawn(async {})).await.is_ok();
    let tasks = probes.probed.restarts.tasks().all();
    let stuck = format!("no work is taken up for {} s", ANSWER_WITHIN.as_secs());
    let why = if alive { dead(&tasks) } else { vec![stuck] };
    answer(alive, json!({"alive": alive, "why": why, "tasks": tasks}))
}

/// What does not run, for people.
fn dead(tasks: &[Task]) -> Vec<String> {
    let fenced = |task: &Task| {
        let places: Vec<&str> = task.fenced.keys().map(String::as_str).collect();
        (!places.is_empty()).then(|| format!("{}: another has claimed {}", task.name, places.join(", ")))
    };
    let lines = tasks.iter().flat_map(|task| {
        let why = task.why.as_deref().unwrap_or_default();
        let line = match task.state {
            Standing::Running => None,
            Standing::Hanging => Some(format!("{} hangs: {why}", task.name)),
            Standing::Panicked => Some(format!("{} begins again: {why}", task.name)),
            Standing::Dead => Some(format!("{} has ended: {why}", task.name)),
        };
        [line, fenced(task)]
    });
    lines.flatten().collect()
}

/// 503 with the reasons while the process cannot do what it was started for; every component that it uses with its state.
pub(super) async fn ready(State(probes): State<Probes>) -> Response {
    let probed = &probes.probed;
    let why = match probed.stop.is_cancelled() {
        true => vec!["stopping".to_owned()],
        false => [
            probed.restarts.recent_panics(),
            probed.idle.borrow().clone(),
            release::too_old_for(),
            probes.dependencies.missing(),
        ]
        .concat(),
    };
    let ready = why.is_empty();
    answer(ready, json!({"ready": ready, "why": why, "dependencies": probes.dependencies.shown()}))
}

fn answer(well: bool, body: Value) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use millrace_engine::supervision::{Tasks, Watch};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn what_has_ended_is_named_with_its_reason() {
        let tasks = Tasks::default();
        tasks.runs("m.orders", Some(Watch::new(&CancellationToken::new())));
        tasks.runs("observer", None);
        tasks.dead("observer", "it cannot connect");
        assert_eq!(dead(&tasks.all()), ["observer has ended: it cannot connect"]);
    }
}
