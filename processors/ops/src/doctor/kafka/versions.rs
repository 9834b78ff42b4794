//! The version of each broker. Kafka's client does not tell it, so that each broker is asked as the client asks it first (ApiVersions,
//! which needs no authentication): what its software supports, and which `metadata.version` the cluster has been set to.

use std::io::{self, Read, Write};
use std::time::Duration;

use futures::future::join_all;
use rdkafka::metadata::Metadata;
use tokio::time::timeout;

use super::super::Finding;
use super::PART;
use crate::certificates::servers::{connected, unverified};
use crate::config::Config;

/// How long a broker may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// Bytes of an answer, at most; Kafka 4.3 answers with 720.
const ANSWER_BYTES_MAX: u32 = 1 << 16;
/// The request ApiVersions, version 3, with the correlation id 1, from the client `millrace` 1.
const REQUEST: &[u8] = b"\0\x12\0\x03\0\0\0\x01\0\x08millrace\0\x09millrace\x021\0";
/// The tags of an answer's optional fields.
const SUPPORTED: u32 = 0;
const FINALIZED: u32 = 2;
const METADATA: &str = "metadata.version";
/// The last level of `metadata.version` of each release.
const RELEASES: [(i16, &str); 14] = [
    (1, "3.0"),
    (2, "3.1"),
    (3, "3.2"),
    (7, "3.3"),
    (8, "3.4"),
    (11, "3.5"),
    (14, "3.6"),
    (19, "3.7"),
    (20, "3.8"),
    (21, "3.9"),
    (25, "4.0"),
    (27, "4.1"),
    (29, "4.2"),
    (30, "4.3"),
];

/// Levels of `metadata.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Levels {
    /// The last one that the broker supports.
    supported: i16,
    /// The one that the cluster has been set to; `None` before KRaft.
    finalized: Option<i16>,
}

/// A finding for each broker.
pub(super) async fn all(config: &Config, metadata: &Metadata) -> Vec<Finding> {
    let properties = config.kafka.revealed();
    let with_tls =
        properties.get("security.protocol").is_some_and(|name| name.to_lowercase().contains("ssl"));
    let asked = metadata.brokers().iter().map(|broker| {
        let (id, host, port) = (broker.id(), broker.host().to_owned(), u16::try_from(broker.port()));
        let asked = tokio::task::spawn_blocking(move || levels(&host, port.ok()?, with_tls).ok()?);
        async move {
            let levels = timeout(ANSWER_WITHIN, asked).await.ok().and_then(Result::ok).flatten();
            of_broker(id, levels, &config.kafka.brokers)
        }
    });
    join_all(asked).await
}

fn levels(host: &str, port: u16, with_tls: bool) -> io::Result<Option<Levels>> {
    let stream = connected(host, port)?;
    let answer = match with_tls {
        false => exchanged(stream)?,
        true => {
            let client = unverified().map_err(io::Error::other)?;
            exchanged(client.connect(host, stream).map_err(|error| io::Error::other(error.to_string()))?)?
        }
    };
    Ok(Fields(&answer).levels())
}

fn exchanged(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    let length = u32::try_from(REQUEST.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), REQUEST].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = Vec::new();
    stream.take(length.into()).read_to_end(&mut answer)?;
    Ok(answer)
}

fn of_broker(id: i32, levels: Option<Levels>, brokers: &str) -> Finding {
    let Some(Levels { supported, finalized }) = levels else {
        let what = format!(
            "broker {id} does not tell its version to this program: kafka-features describe shows it"
        );
        return Finding::fine(PART, what);
    };
    let is = format!("broker {id}: Kafka {}", release(supported));
    match finalized {
        Some(level) if level < supported => Finding::advice(
            PART,
            format!(
                "{is} ({METADATA} {supported}), while {METADATA} is {level}, that of {}: its upgrade was not finished",
                release(level)
            ),
            // `--release-version` is of Kafka 4.0 and later, and a release that is not known here has no name.
            format!("kafka-features --bootstrap-server {brokers} upgrade --feature {METADATA}={supported}"),
        ),
        Some(level) => Finding::fine(PART, format!("{is}, {METADATA} {level}")),
        None => Finding::fine(PART, is),
    }
}

fn release(level: i16) -> &'static str {
    RELEASES.iter().find(|(last, _)| level <= *last).map_or("later than 4.3", |(_, release)| release)
}

/// What is left of an answer.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// `None` when it is no such answer, or has no `metadata.version`.
    fn levels(mut self) -> Option<Levels> {
        let (_correlation, error) = (self.take(4)?, self.take(2)?);
        (error == [0, 0]).then_some(())?;
        for _ in 0..self.number()?.checked_sub(1)? {
            // The number of a request, its first and its last version.
            self.take(6)?;
            self.skip_tagged()?;
        }
        let _throttled = self.take(4)?;
        let (mut supported, mut finalized) = (None, None);
        for _ in 0..self.number()? {
            let (tag, length) = (self.number()?, self.number()?);
            let field = Fields(self.take(length as usize)?);
            match tag {
                // The lowest level comes first here, and last there.
                SUPPORTED => supported = field.feature().map(|(_, highest)| highest),
                FINALIZED => finalized = field.feature().map(|(highest, _)| highest),
                _ => {}
            }
        }
        Some(Levels { supported: supported?, finalized })
    }

    /// Both numbers of the feature `metadata.version` in a list of features.
    fn feature(mut self) -> Option<(i16, i16)> {
        for _ in 0..self.number()?.checked_sub(1)? {
            let length = self.number()?.checked_sub(1)?;
            let name = self.take(length as usize)?;
            let numbers = (self.short()?, self.short()?);
            self.skip_tagged()?;
            if name == METADATA.as_bytes() {
                return Some(numbers);
            }
        }
        None
    }

    fn skip_tagged(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            let (_tag, length) = (self.number()?, self.number()?);
            self.take(length as usize)?;
        }
        Some(())
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes)?;
        self.0 = left;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    /// A number of up to five bytes, the lowest seven bits first.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for place in 0..5 {
            let byte = *self.take(1)?.first()?;
            number |= u32::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Level;
    use super::*;

    /// As Kafka 4.3 answers, with one kind of request.
    const ANSWER: &[u8] = b"\0\0\0\x01\0\0\x02\0\x12\0\0\0\x04\0\0\0\0\0\x03\
        \0\x17\x02\x11metadata.version\0\x07\0\x1e\0\
        \x01\x08\0\0\0\0\0\0\0\x05\
        \x02\x2a\x03\x0egroup.version\0\x01\0\x01\0\x11metadata.version\0\x1b\0\x07\0";

    #[test]
    fn the_levels_of_an_answer_are_found() {
        assert_eq!(Fields(ANSWER).levels(), Some(Levels { supported: 30, finalized: Some(27) }));
        let cut = |at: usize| Fields(&ANSWER[..at]).levels();
        assert!((0..ANSWER.len()).all(|at| cut(at).is_none()), "part of an answer is none");
        let refused = [&ANSWER[..5], b"\x23", &ANSWER[6..]].concat();
        assert_eq!(Fields(&refused).levels(), None);
        assert_eq!(Fields(&[0xff; 64]).levels(), None);
    }

    #[test]
    fn an_upgrade_that_was_not_finished_is_told_with_what_finishes_it() {
        let of = |supported, finalized| of_broker(1, Some(Levels { supported, finalized }), "b:9092");
        let half = of(30, Some(27));
        assert_eq!(half.level, Level::Advice);
        let told = "Kafka 4.3 (metadata.version 30), while metadata.version is 27, that of 4.1";
        assert!(half.what.contains(told), "{}", half.what);
        let mend = |finding: Finding| finding.mend.unwrap();
        let upgrade = "kafka-features --bootstrap-server b:9092 upgrade --feature metadata.version=";
        assert_eq!(mend(half), format!("{upgrade}30"));
        let unknown = of(99, Some(30));
        let told = "Kafka later than 4.3 (metadata.version 99), while metadata.version is 30, that of 4.3";
        assert!(unknown.what.contains(told), "{}", unknown.what);
        assert_eq!(mend(unknown), format!("{upgrade}99"));
        assert_eq!((of(30, Some(30)).level, of(99, Some(99)).level), (Level::Fine, Level::Fine));
        assert_eq!(of(13, None).what, "broker 1: Kafka 3.6");
        assert_eq!(of_broker(1, None, "b:9092").level, Level::Fine);
    }
}
