//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use sqlx::PgPool;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until `look` finds what it looks for. A look that does not says what it saw instead.
///
/// # Panics
/// When it takes too long, with what was seen last.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => {
                assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}; last seen: {seen}")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until a question to a database that is answered by one number has this answer.
///
/// # Panics
/// When it takes too long, with the last answer.
pub async fn becomes(pool: &PgPool, sql: &'static str, expected: i64) {
    eventually(&format!("{expected} of {sql}"), async || {
        let found: Result<i64, sqlx::Error> = sqlx::query_scalar(sql).fetch_one(pool).await;
        match found.map_err(|error| error.to_string())? {
            found if found == expected => Ok(()),
            found => Err(found.to_string()),
        }
    })
    .await;
}

/// Looks again and again until `look` says that all is done, for as long as what it reports keeps changing.
///
/// # Panics
/// When nothing changes any more, with what was seen last.
pub async fn as_long_as_it_moves(what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let (mut last, mut moved) = (String::new(), Instant::now());
    loop {
        let Err(seen) = look().await else { return };
        if seen != last {
            (last, moved) = (seen, Instant::now());
        }
        assert!(
            moved.elapsed() < PATIENCE,
            "nothing moved for {PATIENCE:?} on the way until {what}; last seen: {last}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
