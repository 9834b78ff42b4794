//! The span of a request that sends a command.

use std::time::SystemTime;

use super::{Context, Kind, Span, queue};

/// A request that is sampled.
pub struct Request {
    above: Option<[u8; 8]>,
    own: Context,
    began: SystemTime,
}

impl Request {
    /// The request begins. A caller without a trace gets a new one; `None` when spans are not recorded or the caller's trace is not
    /// sampled.
    pub fn begin(traceparent: Option<&str>) -> Option<Self> {
        if !queue::is_on() {
            return None;
        }
        let (above, own) = match traceparent.filter(|text| crate::envelope::trace(text).is_some()) {
            Some(given) => queue::sampled(given).map(|above| (Some(above.span), above.any_below()))?,
            None => (None, Context::new_trace()),
        };
        Some(Self { above, own, began: SystemTime::now() })
    }

    /// The header of the command.
    pub fn header(&self) -> String {
        self.own.header()
    }

    /// It is answered with this status.
    pub fn end(self, name: String, client: &str, status: u16) {
        let mut span = Span::ending_now((self.above, self.own), name, Kind::Server, self.began);
        span.attributes = vec![
            ("http.request.method", "POST".into()),
            ("http.response.status_code", i64::from(status).into()),
            ("millrace.client", client.into()),
        ];
        span.failed = (status >= 500).then(|| format!("status {status}"));
        queue::record(span);
    }
}
