//! The two databases, for the operator's commands.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use millrace_engine::release::{later, release};
use millrace_store::deployed::{self, Support};
use millrace_store::{Means, migrations};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::address::Address;
use crate::config::Config;
use crate::config::units::written_duration;
use crate::failure::{Failure, Service};
use crate::layout::Side;

/// The operator's statements may take longer than a batch.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTIONS_MAX: u32 = 4;
/// A server that refuses does so at once.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

/// One of the two databases.
#[derive(Debug, Clone)]
pub struct Database {
    /// Connections whose search path is the namespace's schema; opened when first used.
    pub pool: PgPool,
    /// The side.
    pub side: Side,
    address: Address,
    answer_timeout: Duration,
}

impl Database {
    /// The database of a side.
    ///
    /// # Errors
    /// [`Failure::Usage`] when its URL cannot be used.
    pub fn of(config: &Config, side: Side) -> Result<Self, Failure> {
        let (address, field) = match side {
            Side::Write => (&config.postgres.write.url, "postgres.write.url"),
            Side::Read => (&config.postgres.read.url, "postgres.read.url"),
        };
        let pool = millrace_store::database::pool(
            address.reveal(),
            &config.namespace,
            STATEMENT_TIMEOUT,
            CONNECTIONS_MAX,
        );
        let pool =
            pool.map_err(|_| Failure::usage(format!("{field}: {address} is not the URL of a database")))?;
        let answer_timeout = config.postgres.answer_timeout;
        Ok(Self { pool, side, address: address.clone(), answer_timeout })
    }

    /// Runs a query with a timeout, since a broken connection may never report an error.
    ///
    /// # Errors
    /// Those of the query, and [`Failure::Unreachable`] after the timeout.
    pub async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let silent = |_| self.failure(sqlx::Error::PoolTimedOut);
        tokio::time::timeout(self.answer_timeout, asked).await.map_err(silent).flatten()
    }

    /// Refuses tables of a later version than this build knows, unless the release that has set them up allows this one.
    ///
    /// # Errors
    /// [`Failure::Refused`]; [`Failure::Unreachable`].
    pub async fn refuse_newer(&self, connection: &mut PgConnection) -> sqlx::Result<Result<(), Failure>> {
        let (applied, known) = (migrations::applied(connection).await?, self.side.migrations().newest());
        if applied <= known {
            return Ok(Ok(()));
        }
        let support = deployed::support(connection).await?;
        if may_work(applied, support, release()) {
            return Ok(Ok(()));
        }
        let (service, ours) = (self.service(), release());
        let oldest = match support {
            Support { tables, oldest } if tables >= applied => format!(", for releases from {oldest} on"),
            _ => String::new(),
        };
        Ok(Err(Failure::refused(format!(
            "{service} at {} has tables of version {applied}{oldest}, and this build, of release {ours}, knows version {known}: this \
             build is too old; run the release that has set them up, or a later one",
            self.address
        ))))
    }

    /// Refuses an operation that must be run with the later release that is deployed.
    ///
    /// # Errors
    /// [`Failure::Busy`]; [`Failure::Unreachable`].
    pub(crate) async fn leave_to_later(&self, what: &str) -> Result<(), Failure> {
        let later = async { later(&mut *self.pool.acquire().await?).await };
        match later.await.map_err(|error| self.failure(error))? {
            None => Ok(()),
            Some(later) => Err(Failure::Busy(format!(
                "build-too-old: release {later} is deployed, and this build is of release {}: run `millrace {what}` of release {later}",
                release()
            ))),
        }
    }

    /// Refuses a migration while other sessions of the instance are connected.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub fn refuse_connected(&self, sessions: i64) -> Result<(), Failure> {
        if sessions == 0 {
            return Ok(());
        }
        let service = self.service();
        Err(Failure::refused(format!(
            "{service} at {}: other Millrace processes of this instance are connected (sessions: {sessions}), and the migration renames \
             columns that they use: stop every `millrace` process of the instance, then run `millrace setup` again",
            self.address
        )))
    }

    /// The failure of a change that got no lock on a table for so long, and the sessions that keep it.
    pub(crate) fn locked(&self, what: &str, tried: Duration, holders: &[String]) -> Failure {
        let (service, tried) = (self.service(), written_duration(tried));
        let holders = match holders {
            [] => "other sessions".to_owned(),
            holders => format!("these sessions: {}", holders.join("; ")),
        };
        Failure::refused(format!(
            "{service} at {}: {what} has waited {tried} (postgres.setup_lock_timeout), in short tries, for {holders}. What was done \
             before it stays, and nothing waits any longer: let their transactions end, then run `millrace setup` again",
            self.address
        ))
    }

    /// The failure for an unusable session.
    pub fn unfit(&self, reason: &str) -> Failure {
        let service = self.service();
        Failure::usage(format!("{service} at {}: {reason}", self.address))
    }

    fn service(&self) -> Service {
        match self.side {
            Side::Write => Service::WriteDatabase,
            Side::Read => Service::ReadDatabase,
        }
    }

    /// Converts an error of this database.
    pub fn failure(&self, error: sqlx::Error) -> Failure {
        self.meaning(&error).with_source(error)
    }

    fn meaning(&self, error: &sqlx::Error) -> Failure {
        let service = self.service();
        match error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // Undefined table, schema or column.
                Some("42P01" | "3F000" | "42703") => Failure::refused(format!(
                    "{service} at {} has no such table ({}): run `millrace setup` first",
                    self.address,
                    database.message()
                )),
                // Waiting does not help: a pooler is in the way.
                Some(_) if Means::of(error) == Means::SharedSession => {
                    let way_on = Means::SharedSession.way_on().unwrap_or_default();
                    self.unfit(&format!("{}: {way_on}", database.message()))
                }
                // The server shuts down or starts up, or has no free connection.
                Some(code) if code.starts_with("57P") || code.starts_with("08") || code == "53300" => {
                    self.unreachable(service, error)
                }
                // Password, missing database, missing privilege.
                Some(code) if code.starts_with("28") || code == "3D000" || code == "42501" => {
                    Failure::usage(format!("{service} at {}: {}", self.address, database.message()))
                }
                _ => {
                    let way_on =
                        Means::of(error).way_on().map_or(String::new(), |way_on| format!(": {way_on}"));
                    Failure::refused(format!("{service} at {}: {}{way_on}", self.address, database.message()))
                }
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => self.unreachable(service, error),
            _ => Failure::refused(format!("{service} at {}: {error}", self.address)),
        }
    }

    /// The error of a server that refuses connections: a pool takes it for one that starts, and says only that time is over.
    fn refused(&self) -> Option<io::Error> {
        let options = self.pool.connect_options();
        if options.get_socket().is_some() {
            return None;
        }
        let address = (options.get_host(), options.get_port()).to_socket_addrs().ok()?.next()?;
        let error = TcpStream::connect_timeout(&address, REFUSED_WITHIN).err()?;
        (error.kind() == io::ErrorKind::ConnectionRefused).then_some(error)
    }

    fn unreachable(&self, service: Service, error: &sqlx::Error) -> Failure {
        let reason = match error {
            sqlx::Error::PoolTimedOut => {
                let refused = self.refused().map(|error| error.to_string());
                refused.unwrap_or_else(|| "there was no answer in time".to_owned())
            }
            other => other.to_string(),
        };
        Failure::unreachable(service, &self.address, reason)
    }
}

/// Runs a query about a name that returns a boolean.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    question: &'static str,
    name: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(question).bind(name).fetch_one(connection).await
}

/// Executes statements that this build generates.
pub(crate) async fn execute(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Whether a build of this release may work on tables of a later version.
fn may_work(applied: i64, support: Support, ours: i32) -> bool {
    support.tables >= applied && support.oldest <= ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_refuses_connections_is_told_from_one_that_is_silent() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        let address = free.local_addr().unwrap();
        config.postgres.write.url = format!("postgres://a:b@{address}/c").parse().unwrap();
        let database = Database::of(&config, Side::Write).unwrap();
        let told = || database.failure(sqlx::Error::PoolTimedOut).to_string();
        assert!(told().contains("no answer in time"), "{}", told());
        drop(free);
        assert!(told().contains("refused"), "{}", told());
    }

    #[test]
    fn tables_of_a_later_release_are_worked_on_when_it_says_so() {
        let support = Support { tables: 9, oldest: 2 };
        assert!(may_work(9, support, 2) && may_work(8, support, 3));
        assert!(!may_work(9, support, 1), "it is older than the oldest that may");
        assert!(!may_work(10, support, 2), "of these tables no release says anything");
        assert!(!may_work(9, Support::default(), 2));
    }
}
