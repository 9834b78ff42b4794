//! Certificates that end soon.

use chrono::{DateTime, TimeDelta, Utc};

use super::Finding;
use crate::certificates::{self, Certificate};
use crate::config::Config;
use crate::moment::written;

pub(super) const PART: &str = "certificates";

/// As the alert MillraceCertificateEnds.
const SOON: TimeDelta = TimeDelta::days(14);

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    certificates::all(config).await.iter().map(|certificate| of(certificate, Utc::now())).collect()
}

/// Files of `*.access.*` are read again; librdkafka, the databases' client and servers read theirs once.
fn mend(setting: &str) -> &'static str {
    match setting.contains(".access.") {
        true => "replace the file; it is read again when it changes",
        false => "replace it, and restart what reads it: the server, or the processes of Millrace",
    }
}

fn of(Certificate { setting, ends }: &Certificate, now: DateTime<Utc>) -> Finding {
    match ends {
        Ok(end) if *end <= now => {
            let what = format!("the certificate of {setting} has ended at {}", written(*end));
            Finding::wrong(PART, what, mend(setting))
        }
        Ok(end) if *end - now < SOON => {
            let what = format!("the certificate of {setting} ends at {}", written(*end));
            Finding::advice(PART, what, mend(setting))
        }
        Ok(end) => Finding::fine(PART, format!("{setting} until {}", written(*end))),
        Err(why) => Finding::wrong(
            PART,
            format!("the certificate of {setting} cannot be read: {why}"),
            "mend the file or the server",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_advice_and_one_that_has_ended_is_wrong() {
        let now = Utc::now();
        let level = |days: i64| {
            let ends = Ok(now + TimeDelta::days(days));
            of(&Certificate { setting: "registry.url".to_owned(), ends }, now).level
        };
        assert_eq!((level(15), level(13), level(-1)), (Level::Fine, Level::Advice, Level::Wrong));
        let unread = Certificate { setting: "x".to_owned(), ends: Err("no".to_owned()) };
        assert_eq!(of(&unread, now).level, Level::Wrong);
    }
}
