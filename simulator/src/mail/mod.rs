//! The mail server: takes mails and keeps them. Nothing is ever delivered.

mod session;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::books::{Entry, Mail};
use crate::serve::accept;
use crate::world::World;
use session::{Envelope, MESSAGE_BYTES_MAX, Reply, Session, Step};

/// RFC 5321 allows 512 bytes for a command and 1000 for a line of text; some clients write longer ones.
const LINE_BYTES_MAX: usize = 4 << 10;
/// A client that is silent for this long is disconnected.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    accept(listener, stop, |stream| {
        let world = world.clone();
        // A client that goes away is no news.
        async move { drop(Connection { stream: BufReader::new(stream), world }.converse().await) }
    })
    .await;
}

struct Connection {
    stream: BufReader<TcpStream>,
    world: Arc<World>,
}

impl Connection {
    async fn converse(mut self) -> std::io::Result<()> {
        let world = self.world.clone();
        let mut session = Session::new(&world);
        self.say(Reply(220, "millrace simulator, nothing is delivered")).await?;
        while let Some(line) = self.line().await? {
            match session.step(&String::from_utf8_lossy(&line)) {
                Step::Say(reply) => self.say(reply).await?,
                Step::Extensions => self.write(&session::extensions()).await?,
                Step::End(reply) => return self.say(reply).await,
                Step::Message(envelope) => {
                    self.say(Reply(354, "end with a line that is a dot")).await?;
                    let Some(message) = self.message().await? else { return Ok(()) };
                    let Some(reply) = self.keep(envelope, message).await else { return Ok(()) };
                    self.say(reply).await?;
                }
            }
        }
        Ok(())
    }

    async fn say(&mut self, Reply(code, text): Reply) -> std::io::Result<()> {
        self.write(&format!("{code} {text}\r\n")).await
    }

    async fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes()).await
    }

    /// The next line without its end; `None` when the client is gone, silent, or ends no line.
    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or_default();
        let mut limited = (&mut self.stream).take(most);
        let read = tokio::time::timeout(SILENCE_MAX, limited.read_until(b'\n', &mut line)).await;
        match read {
            Ok(read) => read?,
            Err(_) => return Ok(None),
        };
        let ended = line.pop() == Some(b'\n');
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(ended.then_some(line))
    }

    /// The message up to the dot; `Some(None)` when it is too large.
    async fn message(&mut self) -> std::io::Result<Option<Option<Vec<u8>>>> {
        let (mut message, mut too_large) = (Vec::new(), false);
        while let Some(line) = self.line().await? {
            if line == b"." {
                return Ok(Some((!too_large).then_some(message)));
            }
            // A line that begins with a dot was sent with one more.
            let line = line.strip_prefix(b".").unwrap_or(&line);
            too_large = too_large || message.len() + line.len() + 2 > MESSAGE_BYTES_MAX;
            if !too_large {
                message.extend_from_slice(line);
                message.extend_from_slice(b"\r\n");
            }
        }
        Ok(None)
    }

    /// Writes the mail into the ledger; `None` when it is not answered.
    async fn keep(&self, envelope: Envelope, message: Option<Vec<u8>>) -> Option<Reply> {
        let Some(message) = message else { return Some(Reply(552, "the message is too large")) };
        let message = String::from_utf8_lossy(&message).into_owned();
        let message_id = message_id(&message);
        let key = message_id.clone().unwrap_or_else(|| message.clone());
        tokio::time::sleep(self.world.behaviour.latency(&key)).await;
        let Envelope { from, to } = envelope;
        let mail = Entry::Mail(Mail { message_id, from, to, message, at: Utc::now() });
        if let Err(error) = self.world.ledger().append(mail) {
            tracing::error!(%error, "the ledger cannot be written");
            return Some(Reply(451, "the ledger cannot be written; try later"));
        }
        if self.world.behaviour.is_silent_after_mail(&key) {
            tokio::time::sleep(self.world.behaviour.hold).await;
            return None;
        }
        Some(Reply(250, "kept"))
    }
}

/// The `Message-ID` header without its brackets.
fn message_id(message: &str) -> Option<String> {
    let mut headers = message.lines().take_while(|line| !line.is_empty());
    headers.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim().trim_start_matches('<').trim_end_matches('>');
        name.eq_ignore_ascii_case("message-id").then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_id_is_found_among_the_headers_only() {
        assert_eq!(message_id("From: a\r\nMESSAGE-ID: <x@y>\r\n\r\nbody").as_deref(), Some("x@y"));
        assert_eq!(message_id("From: a\r\n\r\nMessage-ID: <x@y>"), None);
    }
}
