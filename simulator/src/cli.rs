//! The command line of `millrace-simulator`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};

use crate::{Behaviour, Settings, Webhooks};

const ABOUT: &str = "Plays external systems on loopback until SIGTERM: a payment provider, a mail server and a vendor of messages, with a ledger of their own.";

const EXAMPLES: &str = "\
Examples:
  millrace-simulator --payments 127.0.0.1:8090 --mail 127.0.0.1:2525 --ledger simulator.jsonl
  millrace-simulator --payments 127.0.0.1:0 --ledger simulator.jsonl --decline 10 --seed 7
  millrace-simulator --vendor 127.0.0.1:8091 --ledger simulator.jsonl --defer 20 --latency-ms 5..50

The seed and the key of a call decide what becomes of it: the same calls get the same answers in every run. When it
listens, it prints each server's address; port 0 takes a free one.

Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  signals cannot be handled
  2  the command line is wrong, or an address, the ledger or the secret cannot be used

It prints to standard error, where it also logs what RUST_LOG names, else warnings.";

/// What is played, where, and how it behaves.
#[derive(Debug, Parser)]
#[command(name = "millrace-simulator", version, about = ABOUT, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("servers").multiple(true).required(true).args(["payments", "mail", "vendor"]))]
pub(crate) struct Options {
    /// Where the payment provider listens
    #[arg(long, value_name = "IP:PORT")]
    payments: Option<SocketAddr>,
    /// Where the mail server listens
    #[arg(long, value_name = "IP:PORT")]
    mail: Option<SocketAddr>,
    /// Where the vendor of messages listens
    #[arg(long, value_name = "IP:PORT")]
    vendor: Option<SocketAddr>,
    /// Where the payment provider sends its webhooks, such as http://127.0.0.1:9465/webhooks/payments
    #[arg(long, value_name = "URL", requires = "webhook_secret_file")]
    webhooks: Option<String>,
    /// A file with what webhooks are signed with, in base64
    #[arg(long, value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// Webhooks that are sent twice
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    duplicate_webhooks: u8,
    /// The ledger: what was authorised, charged, released, refunded, mailed and delivered, one JSON object a line; read again at the start
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// Another seed gives every call another outcome
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Authorisations and charges that are declined, and mailboxes that do not exist
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    decline: u8,
    /// Captures of authorised money that are declined
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    decline_captures: u8,
    /// Tries that are turned away before anything is done
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    error: u8,
    /// Authorisations, charges, releases and refunds that are made and not answered
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    timeout_after_charge: u8,
    /// Authorisations, charges, captures, releases and refunds that are worked on for --slow-ms before they are booked; their
    /// key is answered 409 meanwhile
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    slow: u8,
    /// How long the work on those takes, in milliseconds: longer than callers wait
    #[arg(long, default_value_t = 3_000, value_name = "N")]
    slow_ms: u64,
    /// Mails that are taken and not answered
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    timeout_after_mail: u8,
    /// Messages that cannot be sent now; each attempt has its own outcome
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    defer: u8,
    /// Batches of messages that are taken and not answered
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = percent())]
    timeout_after_delivery: u8,
    /// How long an answer takes, in milliseconds
    #[arg(long, default_value = "0..0", value_name = "A..B", value_parser = range)]
    latency_ms: RangeInclusive<u64>,
    /// How long a connection is kept open that gets no answer, in milliseconds: longer than callers wait
    #[arg(long, default_value_t = 60_000, value_name = "N")]
    hold_ms: u64,
    /// Listen on addresses that others can reach
    #[arg(long)]
    beyond_loopback: bool,
}

fn percent() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(..=100)
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("`{text}` is not a range of milliseconds; write 5..50");
    let (least, most) = text.split_once("..").ok_or_else(wrong)?;
    let (least, most) = (least.parse().map_err(|_| wrong())?, most.parse().map_err(|_| wrong())?);
    if least > most { Err(wrong()) } else { Ok(least..=most) }
}

/// The file that `--webhook-secret-file` names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("--webhook-secret-file: {}: {source}", file.display())]
pub(crate) struct UnreadableSecret {
    file: PathBuf,
    source: std::io::Error,
}

impl Options {
    /// What the simulator starts with.
    pub(crate) fn settings(&self) -> Result<Settings, UnreadableSecret> {
        let behaviour = Behaviour {
            seed: self.seed,
            decline: self.decline,
            decline_captures: self.decline_captures,
            error: self.error,
            timeout_after_charge: self.timeout_after_charge,
            slow: self.slow,
            timeout_after_mail: self.timeout_after_mail,
            defer: self.defer,
            timeout_after_delivery: self.timeout_after_delivery,
            duplicate_webhooks: self.duplicate_webhooks,
            latency_ms: self.latency_ms.clone(),
            work: Duration::from_millis(self.slow_ms),
            hold: Duration::from_millis(self.hold_ms),
        };
        let Self { payments, mail, vendor, beyond_loopback, .. } = *self;
        let (webhooks, ledger) = (self.webhooks()?, self.ledger.clone());
        Ok(Settings { payments, mail, vendor, webhooks, ledger, beyond_loopback, behaviour })
    }

    fn webhooks(&self) -> Result<Option<Webhooks>, UnreadableSecret> {
        let (Some(url), Some(file)) = (&self.webhooks, &self.webhook_secret_file) else { return Ok(None) };
        let secret = std::fs::read_to_string(file);
        let secret = secret.map_err(|source| UnreadableSecret { file: file.clone(), source })?;
        Ok(Some(Webhooks { url: url.clone(), secret: secret.trim_end().to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Settings, clap::Error> {
        let words = std::iter::once("millrace-simulator").chain(line.split_whitespace());
        Options::try_parse_from(words).map(|options| options.settings().unwrap())
    }

    #[test]
    fn the_definition_is_sound_and_its_help_teaches() {
        Options::command().debug_assert();
        let help = Options::command().render_long_help().to_string();
        for part in ["--ledger simulator.jsonl", "Exit codes", "--decline"] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn everything_goes_well_unless_asked_for() {
        let settings = parse("--payments 127.0.0.1:0 --ledger x").unwrap();
        let Behaviour { decline, error, latency_ms, .. } = settings.behaviour;
        assert_eq!((decline, error, latency_ms, settings.beyond_loopback), (0, 0, 0..=0, false));
    }

    #[test]
    fn faults_are_percentages_and_latency_is_a_range() {
        let line = "--mail 127.0.0.1:0 --ledger x --seed 7 --decline 10 --latency-ms 5..50";
        let Behaviour { seed, decline, latency_ms, .. } = parse(line).unwrap().behaviour;
        assert_eq!((seed, decline, latency_ms), (7, 10, 5..=50));
        for wrong in ["--decline 101", "--latency-ms 50..5", "--latency-ms 5", "--error -1"] {
            assert!(parse(&format!("--mail 127.0.0.1:0 --ledger x {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn there_is_something_to_simulate_and_a_place_for_the_ledger() {
        assert!(parse("--ledger x").is_err());
        assert!(parse("--payments 127.0.0.1:0").is_err());
        let unsigned = "--payments 127.0.0.1:0 --ledger x --webhooks http://127.0.0.1:1";
        assert!(parse(unsigned).is_err(), "webhooks are signed");
    }
}
