//! What a client says line by line, and what is answered: RFC 5321 without extensions that are not needed here.

use crate::world::World;

/// Larger messages are refused.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 10;
const RECIPIENTS_MAX: usize = 100;

/// A code and a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply(pub(super) u16, pub(super) &'static str);

/// Who sends a mail, and to whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

/// What follows a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Say(Reply),
    /// The answer to EHLO.
    Extensions,
    /// The message of this envelope comes next.
    Message(Envelope),
    End(Reply),
}

/// One conversation.
pub(super) struct Session<'w> {
    world: &'w World,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// The answer to EHLO.
pub(super) fn extensions() -> String {
    format!("250-millrace simulator\r\n250-SIZE {MESSAGE_BYTES_MAX}\r\n250 8BITMIME\r\n")
}

fn say(code: u16, text: &'static str) -> Step {
    Step::Say(Reply(code, text))
}

impl<'w> Session<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world, greeted: false, from: None, to: Vec::new() }
    }

    /// Answers a line.
    pub(super) fn step(&mut self, line: &str) -> Step {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.trim().is_empty() => say(501, "say who you are"),
            "EHLO" => self.greet(Step::Extensions),
            "HELO" => self.greet(say(250, "millrace simulator")),
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" => self.data(),
            "RSET" => self.reset(),
            "NOOP" => say(250, "ok"),
            "QUIT" => Step::End(Reply(221, "bye")),
            "VRFY" | "EXPN" | "HELP" | "STARTTLS" | "AUTH" => say(502, "not here"),
            _ => say(500, "no such command"),
        }
    }

    fn greet(&mut self, answer: Step) -> Step {
        self.reset();
        self.greeted = true;
        answer
    }

    fn reset(&mut self) -> Step {
        (self.from, self.to) = (None, Vec::new());
        say(250, "ok")
    }

    fn mail(&mut self, rest: &str) -> Step {
        let Some((from, parameters)) = path(rest, "FROM:") else {
            return say(501, "write MAIL FROM:<address>");
        };
        if !self.greeted || self.from.is_some() {
            return say(503, "EHLO comes first, and one mail after the other");
        }
        let size = parameters
            .split(' ')
            .find_map(|one| one.to_ascii_uppercase().strip_prefix("SIZE=")?.parse().ok());
        if size.is_some_and(|size: usize| size > MESSAGE_BYTES_MAX) {
            return say(552, "the message is too large");
        }
        self.from = Some(from.to_owned());
        say(250, "ok")
    }

    fn recipient(&mut self, rest: &str) -> Step {
        let Some((to, _)) = path(rest, "TO:").filter(|(to, _)| to.contains('@')) else {
            return say(501, "write RCPT TO:<address>");
        };
        if self.from.is_none() {
            return say(503, "MAIL comes first");
        }
        if self.to.len() >= RECIPIENTS_MAX {
            return say(452, "too many recipients");
        }
        if self.world.behaviour.declines(to) {
            return say(550, "there is no such mailbox");
        }
        if self.world.turns_away(to) {
            return say(451, "the mailbox is busy; try later");
        }
        self.to.push(to.to_owned());
        say(250, "ok")
    }

    fn data(&mut self) -> Step {
        match self.from.take() {
            Some(from) if !self.to.is_empty() => {
                Step::Message(Envelope { from, to: std::mem::take(&mut self.to) })
            }
            from => {
                self.from = from;
                say(503, "MAIL and RCPT come first")
            }
        }
    }
}

/// The address of `FROM:<address> parameters`, and the parameters.
fn path<'l>(rest: &'l str, word: &str) -> Option<(&'l str, &'l str)> {
    let (begins, behind) = rest.trim_start().split_at_checked(word.len())?;
    let (address, parameters) = behind.trim_start().strip_prefix('<')?.split_once('>')?;
    begins.eq_ignore_ascii_case(word).then_some((address, parameters.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Behaviour;
    use crate::ledger::Ledger;

    /// The codes with which a conversation's lines are answered.
    fn codes(name: &str, behaviour: Behaviour, lines: &[&str]) -> Vec<u16> {
        let file = std::env::temp_dir().join(format!("millrace-smtp-{}-{name}", std::process::id()));
        let world = World::new(Ledger::open(&file).unwrap(), behaviour, None);
        let mut session = Session::new(&world);
        let code = |step| match step {
            Step::Say(Reply(code, _)) | Step::End(Reply(code, _)) => code,
            Step::Extensions => 250,
            Step::Message(_) => 354,
        };
        let codes = lines.iter().map(|line| code(session.step(line))).collect();
        std::fs::remove_file(file).unwrap();
        codes
    }

    #[test]
    fn a_mail_has_a_sender_then_recipients_then_a_message() {
        let lines = ["EHLO x", "MAIL FROM:<a@b> SIZE=10", "rcpt to:<c@d>", "DATA", "MAIL FROM:<>", "QUIT"];
        assert_eq!(codes("good", Behaviour::default(), &lines), [250, 250, 250, 354, 250, 221]);
    }

    #[test]
    fn what_comes_too_early_is_refused() {
        let lines = ["MAIL FROM:<a@b>", "HELO x", "RCPT TO:<c@d>", "DATA", "MAIL FROM:<a@b>", "DATA"];
        assert_eq!(codes("early", Behaviour::default(), &lines), [503, 250, 503, 503, 250, 503]);
    }

    #[test]
    fn a_reset_forgets_the_mail_and_not_the_greeting() {
        let lines = ["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RSET", "DATA", "MAIL FROM:<a@b>"];
        assert_eq!(codes("reset", Behaviour::default(), &lines), [250, 250, 250, 250, 503, 250]);
    }

    #[test]
    fn nonsense_is_refused_and_the_conversation_goes_on() {
        let lines = [
            "EHLO",
            "",
            "é\u{0}",
            "MAIL FROM:a@b",
            "MAIL é",
            "AUTH x",
            "EHLO x",
            "MAIL FROM:<a@b> SIZE=999999999",
        ];
        assert_eq!(codes("nonsense", Behaviour::default(), &lines), [501, 500, 500, 501, 501, 502, 250, 552]);
    }

    #[test]
    fn mailboxes_can_be_missing_or_busy() {
        let lines = ["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"];
        let last = |name, behaviour| codes(name, behaviour, &lines).pop();
        assert_eq!(last("missing", Behaviour { decline: 100, ..Behaviour::default() }), Some(550));
        assert_eq!(last("busy", Behaviour { error: 100, ..Behaviour::default() }), Some(451));
    }
}
