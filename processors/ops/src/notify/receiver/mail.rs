//! A person who is told by mail, with the mail server of the instance.

use async_trait::async_trait;
use millrace_domain::effects::mail::Message;
use millrace_engine::effects::Provider as _;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::Receiver;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::TIMEOUT;
use crate::providers::mail::MailServer;

/// The configured person.
pub(super) struct Mail {
    server: MailServer,
    address: String,
}

impl Mail {
    /// `None` when none is configured.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is no mail server, or it cannot be used.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(address) = config.notify.mail.clone() else { return Ok(None) };
        let server = MailServer::new(&config.mail, TIMEOUT)?;
        let server = server.ok_or_else(|| Failure::usage("notify.mail needs mail.url"))?;
        Ok(Some(Self { server, address }))
    }
}

#[async_trait]
impl Receiver for Mail {
    fn setting(&self) -> &'static str {
        "notify.mail"
    }

    /// The server is not asked what became of a mail whose answer is lost, so that one may come twice.
    async fn send(&self, message: &Value) -> Result<(), String> {
        let mail = of(&self.address, message);
        let sent = timeout(TIMEOUT, self.server.call(Uuid::now_v7(), &mail)).await;
        match sent {
            Ok(sent) => sent.map(|_| ()).map_err(|error| error.to_string()),
            Err(_) => Err(format!("the mail server does not answer within {} s", TIMEOUT.as_secs())),
        }
    }
}

/// The mail of a message: its text, and how many problems it tells.
fn of(address: &str, message: &Value) -> Message {
    let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let listed = message.get("problems").and_then(Value::as_array).map_or(0, Vec::len);
    let more = message.get("more").and_then(Value::as_u64).unwrap_or_default();
    Message {
        notification_id: String::new(),
        recipient: "Operators".to_owned(),
        address: address.to_owned(),
        subject: format!("{}: {} problems have changed", text("namespace"), listed as u64 + more),
        body: text("text").replace('\n', "\r\n") + "\r\n",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mail_has_the_text_and_the_number_of_problems() {
        let message = json!({"text": "shop:\n- one", "namespace": "shop", "problems": [{}, {}], "more": 3});
        let mail = of("ops@example.com", &message);
        assert_eq!(mail.subject, "shop: 5 problems have changed");
        assert_eq!((mail.body.as_str(), mail.address.as_str()), ("shop:\r\n- one\r\n", "ops@example.com"));
    }
}
