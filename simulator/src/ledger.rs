//! The ledger: an append-only file with a JSON object on each line, written before the caller is answered.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::books::{Books, Entry};

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("ledger {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// Another simulator writes it.
    #[error("ledger {0}: another simulator writes it; stop that one, or choose another file with --ledger")]
    Taken(PathBuf),
    /// A line is no entry.
    #[error(
        "ledger {0}, line {1}: {2}; it was not written by this program, choose another file with --ledger"
    )]
    Line(PathBuf, usize, serde_json::Error),
}

/// The file, and what it says.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    length: u64,
    books: Books,
}

impl Ledger {
    /// Reads what is there. What a crash left of a last line was never answered, and is cut off.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |error| LedgerError::File(path.to_owned(), error);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LedgerError::Taken(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Self { books: read(path, &text)?, path: path.to_owned(), file, length })
    }

    /// Writes an entry; it counts from then on.
    pub(crate) fn append(&mut self, entry: Entry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // Half a line must not spoil the next one.
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error);
        }
        self.length += u64::try_from(line.len()).unwrap_or_default();
        self.books.add(entry);
        Ok(())
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// The file, and how much of it is written.
    pub(crate) fn written(&self) -> (PathBuf, u64) {
        (self.path.clone(), self.length)
    }
}

fn read(path: &Path, text: &str) -> Result<Books, LedgerError> {
    let mut books = Books::default();
    for (place, line) in text.lines().enumerate() {
        let entry = serde_json::from_str(line);
        books.add(entry.map_err(|error| LedgerError::Line(path.to_owned(), place + 1, error))?);
    }
    Ok(books)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::books::{Charge, Due, Mail, Outcome, Refund, Totals};

    fn file(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("millrace-ledger-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn charge(key: &str, outcome: Outcome) -> Entry {
        let (customer, order, currency) = ("c".to_owned(), "o".to_owned(), "EUR".to_owned());
        let due = Due { customer, order, amount: 70, currency };
        let (key, authorisation, at) = (key.to_owned(), None, DateTime::UNIX_EPOCH);
        Entry::Charge(Charge { key, due, authorisation, outcome, at })
    }

    fn captured(key: &str) -> Entry {
        charge(key, Outcome::Captured { reference: format!("ch-{key}") })
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let path = file("restart");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.append(captured("a")).unwrap();
        let declined = Outcome::Declined { code: "x".to_owned(), reason: "y".to_owned() };
        ledger.append(charge("b", declined)).unwrap();
        let (key, charge, reference) = ("r".to_owned(), "ch-a".to_owned(), "re".to_owned());
        let (currency, at) = ("EUR".to_owned(), DateTime::UNIX_EPOCH);
        ledger.append(Entry::Refund(Refund { key, charge, amount: 30, currency, reference, at })).unwrap();
        let (from, to, message) = ("f".to_owned(), Vec::new(), String::new());
        ledger.append(Entry::Mail(Mail { message_id: None, from, to, message, at })).unwrap();
        drop(ledger);

        let ledger = Ledger::open(&path).unwrap();
        let sums = |amount| std::collections::BTreeMap::from([("EUR".to_owned(), amount)]);
        let (captured, refunded) = (sums(70), sums(30));
        let totals =
            Totals { captured, refunded, charges: 1, declined: 1, refunds: 1, mails: 1, ..Totals::default() };
        assert_eq!(ledger.books().totals(), &totals);
        assert_eq!(ledger.books().captured("ch-a").map(|charge| charge.left), Some(40));
        assert!(ledger.books().charge("b").is_some() && ledger.books().refund("r").is_some());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn half_a_line_is_cut_off_and_the_next_one_is_whole() {
        let path = file("half");
        Ledger::open(&path).unwrap().append(captured("a")).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", whole.get(..20).unwrap())).unwrap();
        Ledger::open(&path).unwrap().append(captured("b")).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().books().totals().charges, 2);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_of_something_else_is_refused_with_its_line() {
        let path = file("other");
        std::fs::write(&path, "shopping list\n").unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("--ledger"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "shopping list\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_ledger_has_one_writer() {
        let path = file("two");
        let first = Ledger::open(&path).unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Taken(_))));
        drop(first);
        assert!(Ledger::open(&path).is_ok());
        std::fs::remove_file(path).unwrap();
    }
}
