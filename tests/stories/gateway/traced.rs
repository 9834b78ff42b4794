//! A request over HTTP is the first span of its command, below that of its caller.

use millrace_testkit::free_port;
use millrace_tests::collector::{Collector, Received};
use millrace_tests::eventually;

use super::{Gateway, SHOP, registration, sent, settings};
use crate::{beside_others, instance_with};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_between_its_caller_and_the_decision() {
    let _turn = beside_others().await;
    let collector = Collector::start().await;
    let receipts = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let own = [("otlp.endpoint", collector.endpoint.as_str())];
    let instance = instance_with("gateway_traced", &[&settings(&receipts)[..], &own].concat()).await;
    let mut commands = instance.start_with(&["commands"], &[]);
    let mut gateway = Gateway::start(&instance, &[]).await;
    eventually("the role `commands` answers the gateway", async || {
        let (status, problem) = gateway.receipt(SHOP, "never-sent").await;
        if status == 404 { Ok(()) } else { Err(problem.to_string()) }
    })
    .await;
    for (i, flags) in [(1, Some("01")), (2, Some("00")), (3, None)] {
        let key = format!("traced-{i}");
        let request = gateway.command(SHOP, &key, "RegisterCustomer", &registration(i));
        let request = match flags {
            Some(flags) => request.header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}")),
            None => request,
        };
        let answer = sent(request.header("Prefer", "wait=20")).await;
        assert_eq!(answer.status(), 200, "{key}");
    }
    gateway.process.stops().await;
    commands.stops().await;
    let spans = collector.spans();
    let requests: Vec<&Received> = spans.iter().filter(|span| span.name.starts_with("POST ")).collect();
    let above: Vec<(bool, &str)> =
        requests.iter().map(|span| (span.trace == TRACE, span.parent.as_str())).collect();
    assert_eq!(above, [(true, CALLER), (false, "")], "one that is not sampled has none");
    for request in requests {
        assert_eq!(request.attribute("millrace.client"), "shop");
        let decided: Vec<&Received> = spans.iter().filter(|span| span.parent == request.id).collect();
        assert_eq!(decided.len(), 1, "{decided:#?}");
        assert_eq!(
            (decided[0].name.as_str(), &decided[0].trace),
            ("commands RegisterCustomer", &request.trace)
        );
        assert_eq!(decided[0].attribute("millrace.result"), "completed");
    }
}
