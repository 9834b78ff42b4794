//! The probes of a process: `/readyz` shows which component is away, and `/livez` that restarting would not help.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_tests::link::{Link, State};
use millrace_tests::load::register;
use millrace_tests::{Instance, Process, eventually};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// The variable of each component, its name in `/readyz`, and whether the process is ready without it. Kafka is among the links of
/// `links`.
const COMPONENTS: [(&str, &str, bool); 5] = [
    ("WRITE_DATABASE_URL", "the write database", false),
    ("READ_DATABASE_URL", "the read database", false),
    ("ELASTICSEARCH_URL", "Elasticsearch", true),
    ("SCHEMA_REGISTRY_URL", "the schema registry", true),
    ("CONNECT_URL", "Kafka Connect", true),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_component_that_is_away_is_shown_since_when_and_a_restart_is_never_asked_for() {
    let _turn = beside_others().await;
    let settings = [("contexts", r#"["customers"]"#), ("metrics.interval", "1s")];
    let instance = instance_with("health", &settings).await;
    let mut links = Vec::new();
    for (variable, ..) in COMPONENTS {
        links.push(Link::to(variable).await);
    }
    let variables: Vec<(&str, &str)> = links.iter().map(Link::variable).collect();
    let process = instance.start_with(&[], &variables);
    instance.send(&[register(1)]).await;
    instance.settle().await;
    is_ready(&process).await;
    every_task_runs(&instance, &process).await;
    for (link, (_, component, ready)) in links.iter().zip(COMPONENTS) {
        let before = Utc::now();
        link.becomes(State::Cut);
        process.shows(component, "away").await;
        is_told(&process, component, ready, before).await;
        if component == ASKED_TWICE {
            is_away_longer_than_until_it_was_asked_again(&process).await;
        }
        let (status, told) = process.probed("livez").await.expect("an answer");
        assert_eq!((status, &told["alive"]), (200, &json!(true)), "without {component}: {told}");
        link.becomes(State::Well);
        process.shows(component, "answers").await;
        is_ready(&process).await;
        let begun = an_outage_is_two_lines(&process, component).await;
        assert!(component != ASKED_TWICE || begun == 1, "{component}: {begun}\n{}", process.log());
    }
    assert!(!process.log().contains("librdkafka"), "Kafka's client has its own way of telling");
}

/// Its answer is small, so that it is not away for another reason. Others that are busy may be away more than once.
const ASKED_TWICE: &str = "the schema registry";

/// Components are asked five seconds after they have answered, which takes two at most; /readyz leaves out parts of a second.
async fn is_away_longer_than_until_it_was_asked_again(process: &Process) {
    eventually("it is away for eight seconds", async || {
        let (_, told) = process.probed("readyz").await?;
        let mut all = told["dependencies"].as_array().into_iter().flatten();
        let of = all.find(|of| of["name"] == ASKED_TWICE && of["state"] == "away");
        let since = of.and_then(|of| serde_json::from_value::<DateTime<Utc>>(of["since"].clone()).ok());
        match since {
            Some(since) if Utc::now() - since >= TimeDelta::seconds(8) => Ok(()),
            _ => Err(told.to_string()),
        }
    })
    .await;
}

/// One when it begins and one when it ends, with its length. Returns how often it began.
async fn an_outage_is_two_lines(process: &Process, component: &str) -> usize {
    eventually("both lines", async || {
        let log = process.log();
        let lines = |what: &str| log.matches(&format!("{what} component=\"{component}\"")).count();
        match (lines("an outage begins: work that needs it waits"), lines("the outage is over")) {
            (begun, over) if begun > 0 && begun == over => Ok(begun),
            other => Err(format!("{component}: {other:?}\n{log}")),
        }
    })
    .await
}

async fn is_ready(process: &Process) {
    eventually("it is ready", async || match process.probed("readyz").await? {
        (200, told) if told["ready"] == json!(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// The components that answer are not told to be away.
async fn is_told(process: &Process, component: &str, ready: bool, before: DateTime<Utc>) {
    let (status, told) = process.probed("readyz").await.expect("an answer");
    let why = if ready { json!([]) } else { json!([format!("{component} does not answer")]) };
    assert_eq!((status, &told["why"]), (if ready { 200 } else { 503 }, &why), "{told}");
    let away = |of: &&Value| of["state"] == "away";
    let away: Vec<&Value> = told["dependencies"].as_array().into_iter().flatten().filter(away).collect();
    let [of] = away.as_slice() else { panic!("{told}") };
    assert_eq!(of["name"], component);
    let since: DateTime<Utc> = serde_json::from_value(of["since"].clone()).expect("a time");
    assert!(since.timestamp() >= before.timestamp() && since <= Utc::now(), "{of}");
    let reason = of["why"].as_str().unwrap_or_default();
    assert!(!reason.is_empty() && reason.len() <= 400, "{of}");
}

/// A member, with its publisher if it has one, for each group, and the loops of the process.
async fn every_task_runs(instance: &Instance, process: &Process) {
    let (_, told) = process.probed("livez").await.expect("an answer");
    let tasks = told["tasks"].as_array().cloned().unwrap_or_default();
    let task = |name: &str| tasks.iter().find(|task| task["name"] == name).cloned().unwrap_or_default();
    for view in instance.views() {
        let member = task(&instance.group(view.name));
        assert_eq!((&member["state"], &member["tasks"]["member"]), (&json!("running"), &json!(1)), "{told}");
        let publishers = if view.index { json!(1) } else { Value::Null };
        assert_eq!(member["tasks"]["publisher"], publishers, "{}: {told}", view.name);
    }
    for name in [instance.group("commands").as_str(), "follower", "observer", "dependencies"] {
        assert_eq!(task(name)["state"], "running", "{name}: {told}");
    }
    assert_eq!(told["why"], json!([]));
}
