//! A collector of OpenTelemetry: takes spans over HTTP, as protobuf, and keeps them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millrace_testkit::{Process, free_port};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};

use crate::instance::Workshop;
use crate::patience::eventually;

/// A span that was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of its parent; empty without one.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Traces and ids of the spans that it is linked with.
    pub links: Vec<(String, String)>,
    /// Its attributes as texts.
    pub attributes: BTreeMap<String, String>,
    /// Whether it says that it failed.
    pub failed: bool,
    /// Begin and end, in nanoseconds since 1970.
    pub lasted: (u64, u64),
}

impl Received {
    fn of(span: &Span) -> Self {
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name.clone(),
            links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            attributes: span.attributes.iter().map(attribute).collect(),
            failed: span.status.as_ref().is_some_and(|status| status.code == 2),
            lasted: (span.start_time_unix_nano, span.end_time_unix_nano),
        }
    }

    /// An attribute; empty without it.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(KeyValue { key, value, .. }: &KeyValue) -> (String, String) {
    let text = match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    (key.clone(), text)
}

#[derive(Default)]
struct Taken {
    spans: Vec<Received>,
    resources: Vec<BTreeMap<String, String>>,
    tokens: Vec<String>,
}

/// A collector.
pub struct Collector {
    /// The address for `otlp.endpoint`.
    pub endpoint: String,
    taken: Arc<Mutex<Taken>>,
}

/// The OpenTelemetry Collector, which passes everything on to a [`Collector`].
pub struct Official {
    /// The address for `otlp.endpoint`.
    pub endpoint: String,
    process: Process,
}

impl Official {
    /// The program `otelcol` on the PATH, or the one that the variable OTELCOL names; `None` when that says `none`.
    pub async fn before(collector: &Collector, workshop: Workshop) -> Option<Self> {
        let program = std::env::var("OTELCOL").unwrap_or_else(|_| "otelcol".to_owned());
        if program == "none" {
            return None;
        }
        let found = Command::new(&program).arg("--version").output();
        assert!(
            found.is_ok(),
            "{program}: {found:?}; `scripts/test stories` builds it, OTELCOL=none leaves it out"
        );
        let address = format!("127.0.0.1:{}", free_port().expect("a free port"));
        let name = format!("otelcol-{}", uuid::Uuid::now_v7());
        let [file, log] =
            ["yaml", "log"].map(|kind| Path::new(workshop.folder).join(format!("{name}.{kind}")));
        std::fs::write(&file, configuration(&address, &collector.endpoint)).expect("a configuration");
        let mut command = Command::new(program);
        command.arg("--config").arg(format!("file:{}", file.display()));
        let process = Process::start("the collector", &mut command, &log).expect("the collector");
        let official = Self { endpoint: format!("http://{address}"), process };
        eventually("the collector listens", async || {
            TcpStream::connect(&address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Some(official)
    }

    /// Ends it: it passes on what it has.
    pub async fn ends(mut self) {
        self.process.terminate().expect("a signal");
        let status = self.process.ended().await;
        assert!(status.success(), "{status}: {}", self.process.log_tail());
    }
}

fn configuration(listen: &str, next: &str) -> String {
    format!(
        "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: '{listen}' }} }} }} }}
exporters: {{ otlphttp: {{ endpoint: '{next}', compression: none }} }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines: {{ traces: {{ receivers: [otlp], exporters: [otlphttp] }} }}
"
    )
}

impl Collector {
    /// Begins to take spans.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let taken = Arc::new(Mutex::new(Taken::default()));
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, taken }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Received> {
        self.taken.lock().expect("spans").spans.clone()
    }

    /// What the senders say of themselves.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.taken.lock().expect("spans").resources.clone()
    }

    /// The tokens that they have shown.
    pub fn tokens(&self) -> Vec<String> {
        self.taken.lock().expect("spans").tokens.clone()
    }
}

async fn take(
    State(taken): State<Arc<Mutex<Taken>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(header("content-type"), "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("spans as protobuf");
    let mut taken = taken.lock().expect("spans");
    taken.tokens.push(header("authorization").to_owned());
    for resource in &request.resource_spans {
        let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        taken.resources.push(attributes.map(attribute).collect());
        let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        taken.spans.extend(spans.map(Received::of));
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}
