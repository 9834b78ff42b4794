//! A client that is made again when one of its files changes.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::AccessError;
use crate::reason::Reason;

/// How often the files are looked at, at most.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// When a file was changed, and its size; `None` while it is not there.
type Seen = Vec<Option<(SystemTime, u64)>>;

/// A client made of files. A caller gets the one that is made of what they have now: certificates and secrets are replaced
/// without a restart.
pub struct Renewed<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, AccessError> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    client: T,
    /// The files of the client.
    seen: Seen,
    /// Those of which none could be made: they are tried again, since their rights may change without them.
    refused: Option<Seen>,
    looked_at: Instant,
}

impl<T: Clone> Renewed<T> {
    /// Makes the client.
    ///
    /// # Errors
    /// When it cannot be made now. Later, the one that there is stays in use.
    pub fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, AccessError> + Send + Sync + 'static,
    ) -> Result<Self, AccessError> {
        let seen = seen(&files);
        let state = State { client: make()?, seen, refused: None, looked_at: Instant::now() };
        Ok(Self { files, make: Box::new(make), state: Mutex::new(state) })
    }

    /// The client, made again when a file was changed.
    pub fn get(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && state.looked_at.elapsed() >= LOOKED_AT_EVERY {
            self.look(&mut state);
        }
        state.client.clone()
    }

    fn look(&self, state: &mut State<T>) {
        state.looked_at = Instant::now();
        let seen = seen(&self.files);
        if state.seen == seen {
            return;
        }
        match (self.make)() {
            Ok(client) => {
                tracing::info!(files = ?self.files, "certificates or credentials were changed: a new client has them");
                (state.client, state.seen, state.refused) = (client, seen, None);
            }
            Err(_) if state.refused.as_ref() == Some(&seen) => {}
            Err(error) => {
                state.refused = Some(seen);
                let reason = Reason::of(error);
                tracing::warn!(%reason, "changed certificates or credentials cannot be used: those from before stay in use");
            }
        }
    }
}

fn seen(files: &[PathBuf]) -> Seen {
    let one = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.iter().map(one).collect()
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_file_follows_it_and_survives_its_absence() {
        let file = std::env::temp_dir().join(format!("millrace-renewed-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "1").unwrap();
        let read = file.clone();
        let make = move || {
            std::fs::read_to_string(&read).map_err(|error| AccessError::Unreadable(read.clone(), error))
        };
        let renewed = Renewed::new(vec![file.clone()], make).unwrap();
        let look = || {
            let mut state = renewed.state.lock().unwrap();
            renewed.look(&mut state);
            state.client.clone()
        };
        assert_eq!(look(), "1");
        std::fs::write(&file, "22").unwrap();
        assert_eq!(renewed.get(), "1", "looked at a moment ago");
        assert_eq!(look(), "22");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(look(), "22");
        std::fs::write(&file, "333").unwrap();
        assert_eq!(look(), "333");
        std::fs::remove_file(&file).unwrap();
    }
}
