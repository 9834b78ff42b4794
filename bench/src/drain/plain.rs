//! The upper bound: a plain `_bulk` loop over documents that are encoded before the clock starts.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use reqwest::{Client, Method};
use serde_json::json;

use super::Drained;
use super::corpus::{Corpus, Document};
use super::index::check;
use crate::cli::Search;
use crate::cpu::{self, Components};
use crate::instance::Instance;

/// The loop and what it is compared with.
pub(super) struct Loop<'l> {
    instance: &'l Instance,
    /// Matches the view's index template: same mappings, same settings.
    index: String,
    case: String,
    corpus: &'l Corpus,
    /// How often each document is written, each time with a greater version.
    passes: u64,
    documents_max: usize,
    connections: usize,
}

impl<'l> Loop<'l> {
    /// Writes as many documents as Millrace has.
    pub(super) fn new(
        instance: &'l Instance,
        view: &str,
        corpus: &'l Corpus,
        millrace: &Drained,
        options: &Search,
    ) -> Self {
        // A row that Millrace has written four times is written four times here.
        let share = millrace.documents / millrace.records;
        let passes = (share * options.backlog.records as f64 / corpus.0.len().max(1) as f64).round().max(1.0);
        Self {
            instance,
            index: format!("{}-g0-plain", instance.alias(view)),
            case: format!("{view}, plain _bulk"),
            corpus,
            passes: passes as u64,
            documents_max: options.plain_documents,
            connections: options.plain_connections.max(1),
        }
    }

    /// Fills a new index and checks that it holds the same.
    pub(super) async fn run(&self, run: u32) -> Result<Drained> {
        eprintln!("{}: run {run}", self.case);
        let requests = self.requests();
        self.instance.stack.elasticsearch(Method::PUT, &self.index, None).await?;
        let components = Components::find(&self.instance.stack).with("millrace", std::process::id());
        let (before, began) = (components.used()?, Instant::now());
        self.send(requests).await?;
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu::between(&before, &components.used()?));
        let versions = self.corpus.0.iter().map(|document| document.version).sum();
        check(self.instance, &self.index, self.corpus.0.len() as u64, versions).await?;
        self.corpus.is_equal_to(&Corpus::read(self.instance, &self.index).await?)?;
        self.instance.stack.elasticsearch(Method::DELETE, &self.index, None).await?;
        let documents = self.corpus.0.len() as f64 * self.passes as f64;
        Ok(self.drained(run, documents, seconds, cpu))
    }

    fn drained(&self, run: u32, documents: f64, seconds: f64, cpu: cpu::Seconds) -> Drained {
        let counted: f64 = ["millrace", "elasticsearch"].iter().filter_map(|name| cpu.get(name)).sum();
        Drained {
            case: self.case.clone(),
            run,
            records: documents,
            seconds,
            per_second: documents / seconds,
            documents,
            batch: self.documents_max as f64,
            per_cpu_second: documents / counted,
            cpu,
            peak_mb: None,
            spans: [0.0; 2],
        }
    }

    fn requests(&self) -> Vec<Bytes> {
        let pass =
            |pass: u64| self.corpus.0.chunks(self.documents_max).map(move |part| self.request(part, pass));
        (0..self.passes).flat_map(pass).collect()
    }

    /// The last pass writes the documents' own versions.
    fn request(&self, documents: &[Document], pass: u64) -> Bytes {
        let mut body = String::new();
        for document in documents {
            let version = document.version.saturating_sub(self.passes - 1 - pass).max(1);
            let action =
                json!({"index": {"_id": document.id, "version": version, "version_type": "external"}});
            body.push_str(&format!("{action}\n{}\n", document.body));
        }
        body.into()
    }

    async fn send(&self, requests: Vec<Bytes>) -> Result<()> {
        let url =
            format!("{}/{}/_bulk?filter_path=errors", self.instance.stack.elasticsearch_url(), self.index);
        let connections = (0..self.connections).map(|number| {
            let share: Vec<Bytes> = requests.iter().skip(number).step_by(self.connections).cloned().collect();
            send_all(&url, share)
        });
        futures::future::try_join_all(connections).await.map(|_| ())
    }
}

/// One connection: a request at a time.
async fn send_all(url: &str, requests: Vec<Bytes>) -> Result<()> {
    let client = Client::builder().pool_max_idle_per_host(1).build()?;
    for request in requests {
        let answer =
            client.post(url).header("content-type", "application/x-ndjson").body(request).send().await?;
        let text = answer.error_for_status()?.text().await?;
        ensure!(text.contains("\"errors\":false"), "_bulk has errors: {text}");
    }
    Ok(())
}
