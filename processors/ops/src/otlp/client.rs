//! Requests to the collector, with the client of HTTP that the other services have.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Otlp;
use crate::failure::Failure;
use crate::http::innermost;

/// A client with the configured address and token.
pub(super) struct Client {
    client: reqwest::Client,
    url: reqwest::Url,
    token: Option<SecretString>,
}

impl Client {
    /// # Errors
    /// [`Failure::Usage`] when spans cannot be sent below the address; when TLS cannot be set up.
    pub(super) fn new(otlp: &Otlp, url: &reqwest::Url, timeout: Duration) -> Result<Self, Failure> {
        let mut url = url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(["v1", "traces"]),
            Err(()) => {
                return Err(Failure::usage("otlp.endpoint: it has no path, as an http:// address has"));
            }
        };
        let client = reqwest::Client::builder().timeout(timeout).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))?;
        Ok(Self { client, url, token: otlp.token.clone() })
    }

    /// Sends spans; returns how many of them the collector refuses for good.
    ///
    /// # Errors
    /// Why it does not take them, without the URL, which may be secret.
    pub(super) async fn send(&self, spans: Bytes) -> Result<usize, String> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let told = |error: reqwest::Error| innermost(&error.without_url());
        let answer = request.body(spans).send().await.map_err(told)?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        // It has taken them, whatever becomes of the rest of its answer.
        Ok(answer.bytes().await.map_or(0, refused))
    }
}

/// By an answer of success; one that is none of OTLP's refuses nothing.
fn refused(answer: Bytes) -> usize {
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let partly = answer.and_then(|answer| answer.partial_success);
    partly.map_or(0, |partly| usize::try_from(partly.rejected_spans).unwrap_or(0))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_a_collector_refuses_is_counted_and_another_answer_refuses_nothing() {
        let partly = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partly) };
        assert_eq!(refused(answer.encode_to_vec().into()), 3);
        assert_eq!((refused(Bytes::new()), refused(Bytes::from_static(b"{}"))), (0, 0));
    }

    #[tokio::test]
    async fn spans_that_were_taken_are_not_sent_again_when_the_rest_of_the_answer_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answered = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"spans") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").unwrap();
        });
        let client = Client::new(&Otlp::default(), &url, Duration::from_secs(10)).unwrap();
        assert_eq!(client.send(Bytes::from_static(b"spans")).await, Ok(0));
        answered.join().unwrap();
    }
}
