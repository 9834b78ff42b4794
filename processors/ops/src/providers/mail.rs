//! The mail server, over SMTP. It supports neither idempotency keys nor queries, so the failed step decides: before the message
//! itself is transmitted, nothing can have been sent.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as From, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use millrace_domain::effects::mail::{Mail, Message, Taken};
use millrace_engine::Reason;
use millrace_engine::effects::{CallError, Provider};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use uuid::Uuid;

use crate::address::Address;
use crate::config;
use crate::failure::Failure;

/// The encryption of the connection.
#[derive(Clone)]
enum Tls {
    /// None: the server is on loopback.
    None,
    /// TLS from the first byte.
    Always(TlsParameters),
    /// STARTTLS, required.
    Started(TlsParameters),
}

/// The configured server.
pub(crate) struct MailServer {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    from: Mailbox,
    /// The timeout of everything before the message itself.
    preparing: Duration,
}

impl MailServer {
    /// `None` when none is configured.
    pub(crate) fn new(mail: &config::Mail, call_timeout: Duration) -> Result<Option<Self>, Failure> {
        let Some(address) = &mail.url else { return Ok(None) };
        let from = mail.from.as_deref().unwrap_or_default();
        let from = from.parse().map_err(|_| {
            Failure::usage(
                "mail.from: it must be an address, such as Shop <shop@example.com>, when mail.url is set",
            )
        })?;
        let host = address.url().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (tls, usual_port) = tls(address, &host).map_err(Failure::usage)?;
        Ok(Some(Self {
            port: address.url().port().unwrap_or(usual_port),
            host,
            tls,
            credentials: credentials(address)?,
            from,
            preparing: call_timeout / 2,
        }))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let (server, us) = ((self.host.as_str(), self.port), ClientId::default());
        let wrapped = match &self.tls {
            Tls::Always(parameters) => Some(parameters.clone()),
            Tls::None | Tls::Started(_) => None,
        };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.preparing), &us, wrapped, None).await?;
        if let Tls::Started(parameters) = &self.tls {
            connection.starttls(parameters.clone(), &us).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }

    /// Everything before the message itself.
    async fn prepare(&self, to: &Mailbox) -> Result<AsyncSmtpConnection, CallError> {
        let away = |error: Error| CallError::Unavailable(Reason::of(error));
        let mut connection = self.connect().await.map_err(away)?;
        let from = From::new(Some(self.from.email.clone()), Vec::new());
        connection.command(from).await.map_err(away)?;
        connection.command(Rcpt::new(to.email.clone(), Vec::new())).await.map_err(unsent)?;
        connection.command(Data).await.map_err(unsent)?;
        Ok(connection)
    }

    fn written(&self, key: Uuid, to: &Mailbox, message: &Message) -> Result<Vec<u8>, CallError> {
        let id = format!("<{key}@{}>", self.from.email.domain());
        let written = lettre::Message::builder()
            .from(self.from.clone())
            .to(to.clone())
            .subject(message.subject.clone())
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(message.body.clone());
        written.map(|message| message.formatted()).map_err(|error| CallError::Refused(Reason::of(error)))
    }
}

#[async_trait]
impl Provider<Mail> for MailServer {
    fn key_window(&self) -> Option<Duration> {
        None
    }

    async fn call(&self, key: Uuid, request: &Message) -> Result<Taken, CallError> {
        let to = recipient(request)?;
        let written = self.written(key, &to, request)?;
        let prepared = timeout(self.preparing, self.prepare(&to)).await;
        let silent = |_| CallError::Unavailable("the mail server is silent".into());
        let mut connection = prepared.map_err(silent)??;
        connection.message(&written).await.map_err(|error| match error.status() {
            Some(_) => unsent(error),
            None => CallError::Unknown(Reason::of(error)),
        })?;
        connection.abort().await;
        Ok(Taken)
    }

    /// Not supported.
    async fn ask(&self, _: Uuid, _: &Message) -> Result<Option<Taken>, CallError> {
        Err(CallError::Unavailable("a mail server cannot be asked what became of a mail".into()))
    }
}

/// The encryption and the default port of an address.
fn tls(address: &Address, host: &str) -> Result<(Tls, u16), String> {
    let query = address.url().query().unwrap_or_default();
    let parameters = || TlsParameters::new(host.to_owned()).map_err(|error| format!("mail.url: {error}"));
    match (address.url().scheme(), query) {
        ("smtps", "") => Ok((Tls::Always(parameters()?), SUBMISSIONS_PORT)),
        ("smtp", "tls=required") => Ok((Tls::Started(parameters()?), SUBMISSION_PORT)),
        ("smtp", "") if address.is_loopback() => Ok((Tls::None, SMTP_PORT)),
        _ => {
            Err("mail.url must be smtps://host, or smtp://host?tls=required; without TLS only on loopback, \
                  such as smtp://127.0.0.1:2525"
                .to_owned())
        }
    }
}

/// The user and the password of the address, unescaped.
fn credentials(address: &Address) -> Result<Option<Credentials>, Failure> {
    let url = address.url();
    let Some(password) = url.password() else { return Ok(None) };
    let plain = |text| percent_decode_str(text).decode_utf8().map(String::from);
    match (plain(url.username()), plain(password)) {
        (Ok(user), Ok(password)) => Ok(Some(Credentials::new(user, password))),
        _ => Err(Failure::usage("mail.url: its user or password is not UTF-8")),
    }
}

fn recipient(message: &Message) -> Result<Mailbox, CallError> {
    let address = message.address.parse::<lettre::Address>();
    let refused = || CallError::Refused("the address is none that a mail can be sent to".into());
    let address =
        address.ok().filter(|address| AsRef::<str>::as_ref(address).is_ascii()).ok_or_else(refused)?;
    Ok(Mailbox::new(Some(message.recipient.clone()), address))
}

/// The error of a refusal, temporary or permanent: the mail was not sent.
fn unsent(error: Error) -> CallError {
    match error.is_permanent() {
        true => CallError::Refused(Reason::of(error)),
        false => CallError::Unavailable(Reason::of(error)),
    }
}

#[cfg(test)]
mod tests {
    use millrace_simulator::{Behaviour, Entry};

    use super::*;
    use crate::providers::simulated::Simulated;

    const KEY: Uuid = Uuid::from_u128(1);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn message(address: &str) -> Message {
        Message {
            notification_id: "n1".to_owned(),
            recipient: "Ana Müller".to_owned(),
            address: address.to_owned(),
            subject: "Grüße".to_owned(),
            body: "one\n.two\n".to_owned(),
        }
    }

    async fn send(simulated: &Simulated, address: &str) -> Result<Taken, CallError> {
        let server = MailServer::new(&simulated.config().mail, TIMEOUT).unwrap().unwrap();
        server.call(KEY, &message(address)).await
    }

    #[tokio::test]
    async fn a_mail_arrives_with_its_key_as_message_id() {
        let simulated = Simulated::start("mail", Behaviour::default()).await;
        assert_eq!(send(&simulated, "ana@example.com").await, Ok(Taken));
        let entries = simulated.end().await;
        let [Entry::Mail(mail)] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(mail.message_id.as_deref(), Some(format!("{KEY}@example.com").as_str()));
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("shop@example.com", &["ana@example.com".to_owned()][..])
        );
        assert!(mail.message.contains("\r\none\r\n.two\r\n"), "{}", mail.message);
    }

    #[tokio::test]
    async fn a_mailbox_that_does_not_exist_is_refused_for_good_and_a_busy_one_is_not() {
        let missing = Behaviour { decline: 100, ..Behaviour::default() };
        let simulated = Simulated::start("mail-missing", missing).await;
        let refused = send(&simulated, "ana@example.com").await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
        simulated.end().await;
        let busy = Behaviour { error: 100, ..Behaviour::default() };
        let simulated = Simulated::start("mail-busy", busy).await;
        let later = send(&simulated, "ana@example.com").await;
        assert!(matches!(later, Err(CallError::Unavailable(_))), "{later:?}");
        simulated.end().await;
    }

    #[tokio::test]
    async fn silence_after_the_message_is_an_unknown_outcome() {
        let hold = Duration::from_millis(50);
        let behaviour = Behaviour { timeout_after_mail: 100, hold, ..Behaviour::default() };
        let simulated = Simulated::start("mail-silent", behaviour).await;
        let lost = send(&simulated, "ana@example.com").await;
        assert!(matches!(lost, Err(CallError::Unknown(_))), "{lost:?}");
        assert_eq!(simulated.end().await.len(), 1);
    }

    #[tokio::test]
    async fn without_a_server_nothing_was_sent() {
        let simulated = Simulated::start("mail-away", Behaviour::default()).await;
        let config = simulated.config();
        simulated.end().await;
        let server = MailServer::new(&config.mail, TIMEOUT).unwrap().unwrap();
        let away = server.call(KEY, &message("ana@example.com")).await;
        assert!(matches!(away, Err(CallError::Unavailable(_))), "{away:?}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_before_anybody_is_called() {
        let simulated = Simulated::start("mail-address", Behaviour::default()).await;
        for address in ["ana", "ana@exämple@com", "jörg@example.com"] {
            let refused = send(&simulated, address).await;
            assert!(matches!(refused, Err(CallError::Refused(_))), "{address}: {refused:?}");
        }
        assert!(simulated.end().await.is_empty());
    }
}
