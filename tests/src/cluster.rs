//! A Postgres server of a story's own, which can be lost and come back from a base backup and the archived WAL.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr as _;

use millrace_testkit::free_port;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::patience::eventually;

/// What a base backup leaves out: the server's own files, slots, and WAL, which the archive has.
const LEFT_OUT: [&str; 4] = ["postmaster.pid", "postmaster.opts", "pg_wal", "pg_replslot"];
/// As whom Postgres runs when the stories are root's, as with `scripts/stack`.
const SERVICE: &str = "nobody";

/// A server with its archive of WAL in a folder, which is removed at the end.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// A base backup: a folder beside the server's data.
pub struct BaseBackup(PathBuf);

/// A base backup that has begun. It ends in the session in which it began.
pub struct Begun(PgConnection);

impl Cluster {
    /// A new server with an empty database for the write side; `None` when the variable `POSTGRES_BIN`, which otherwise names the
    /// folder of its programs, says `none`.
    pub async fn start() -> Option<Self> {
        let programs = std::env::var("POSTGRES_BIN").unwrap_or_else(|_| of_the_stack());
        if programs == "none" {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("millrace-cluster-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(folder.join("archive")).expect("a folder");
        let port = free_port().expect("a free port");
        let cluster = Self { programs: programs.into(), folder, port };
        cluster.hand_over();
        let mut init = cluster.program("initdb");
        init.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(cluster.data());
        done(&mut init);
        cluster.configure();
        cluster.run();
        for sql in [
            "CREATE ROLE millrace LOGIN REPLICATION",
            "GRANT pg_monitor TO millrace",
            "CREATE DATABASE millrace_write OWNER millrace",
        ] {
            let mut session = cluster.superuser().await;
            sqlx::raw_sql(sql).execute(&mut session).await.expect("a database");
        }
        Some(cluster)
    }

    /// The address of the database, for `postgres.write.url`.
    pub fn url(&self) -> String {
        format!("postgres://millrace:any@127.0.0.1:{}/millrace_write", self.port)
    }

    /// Sessions with a schema in their search path.
    pub fn pool(&self, schema: &str) -> PgPool {
        let options = PgConnectOptions::from_str(&self.url()).expect("a Postgres URL");
        let options = options.application_name("stories").options([("search_path", schema)]);
        PgPoolOptions::new().max_connections(4).connect_lazy_with(options)
    }

    /// Begins a base backup, as `pg_basebackup` does: with a checkpoint.
    pub async fn begin_backup(&self) -> Begun {
        let mut session = self.superuser().await;
        sqlx::query("SELECT pg_backup_start('story', fast => true)")
            .execute(&mut session)
            .await
            .expect("a backup");
        Begun(session)
    }

    /// Copies the files of the server that works on them meanwhile, and ends the backup.
    pub async fn end_backup(&self, Begun(mut session): Begun) -> BaseBackup {
        let copy = self.folder.join("backup");
        copied(&self.data(), &copy);
        for empty in ["pg_wal", "pg_replslot"] {
            fs::create_dir(copy.join(empty)).expect("a folder");
        }
        let label = sqlx::query_scalar("SELECT labelfile FROM pg_backup_stop(wait_for_archive => true)");
        let label: String = label.fetch_one(&mut session).await.expect("the label of the backup");
        fs::write(copy.join("backup_label"), label).expect("a label");
        BaseBackup(copy)
    }

    /// Waits until the archive has everything that is committed.
    pub async fn is_archived(&self) {
        let mut session = self.superuser().await;
        let switched = sqlx::query_scalar("SELECT pg_walfile_name(pg_switch_wal())");
        let last: String = switched.fetch_one(&mut session).await.expect("a file of WAL");
        let file = self.folder.join("archive").join(last);
        eventually("the archive has the last WAL", async || match file.exists() {
            true => Ok(()),
            false => Err(file.display().to_string()),
        })
        .await;
    }

    /// The machine is gone, with its disk.
    pub fn is_lost(&self) {
        self.stop("immediate");
        fs::remove_dir_all(self.data()).expect("a lost disk");
    }

    /// Restores the backup, replays the archive, and takes connections.
    pub async fn comes_back_from(&self, BaseBackup(copy): BaseBackup) {
        fs::rename(copy, self.data()).expect("the backup");
        let restore = format!("restore_command = 'cp {}/%f %p'\n", self.folder.join("archive").display());
        fs::write(self.data().join("postgresql.auto.conf"), restore).expect("a setting");
        fs::write(self.data().join("recovery.signal"), "").expect("a signal");
        self.hand_over();
        self.run();
        eventually("the archive is replayed", async || {
            let mut session = self.superuser().await;
            let recovers = sqlx::query_scalar::<_, bool>("SELECT pg_is_in_recovery()");
            match recovers.fetch_one(&mut session).await {
                Ok(false) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// As the service's user, since Postgres refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", SERVICE, "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(&self.folder);
        command
    }

    fn configure(&self) {
        let file = self.data().join("postgresql.conf");
        let archive = self.folder.join("archive");
        let settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nwal_level = logical\n\
             archive_mode = on\narchive_command = 'cp %p {}/%f'\n",
            self.port,
            archive.display()
        );
        let whole = fs::read_to_string(&file).expect("settings") + &settings;
        fs::write(file, whole).expect("settings");
    }

    fn run(&self) {
        let mut start = self.program("pg_ctl");
        start.args(["-w", "start", "-l"]).arg(self.folder.join("postgres.log")).arg("-D").arg(self.data());
        done(&mut start);
    }

    fn stop(&self, mode: &str) {
        done(&mut self.stopping(mode));
    }

    fn stopping(&self, mode: &str) -> Command {
        let mut stop = self.program("pg_ctl");
        stop.args(["-w", "stop", "-m", mode, "-D"]).arg(self.data());
        stop
    }

    async fn superuser(&self) -> PgConnection {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        PgConnection::connect(&url).await.expect("a session of the superuser")
    }

    /// Its files become those of the user that Postgres runs as.
    fn hand_over(&self) {
        if is_root() {
            done(Command::new("chown").args(["-R", &format!("{SERVICE}:")]).arg(&self.folder));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data().exists() {
            // A story that has failed may have no server; another panic would end all stories.
            let _ = self.stopping("immediate").stdout(Stdio::null()).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The programs that `scripts/stack` has fetched.
fn of_the_stack() -> String {
    let home = std::env::var("MILLRACE_STACK_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../.stack").to_owned());
    format!("{home}/dist/postgres/bin")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn done(command: &mut Command) {
    // A server that is started must not keep the pipes of its output open.
    let done = command.stdout(Stdio::null()).status();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.success(), "{command:?}: {done}");
}

/// Copies a folder; files that go meanwhile are not missed.
fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        let (name, kind) = (entry.file_name(), entry.file_type().expect("a kind"));
        if LEFT_OUT.iter().any(|left| name == *left) {
            continue;
        }
        match kind.is_dir() {
            true => copied(&entry.path(), &to.join(name)),
            false => match fs::copy(entry.path(), to.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied.expect("a copy")),
            },
        }
    }
    let mode = fs::metadata(from).expect("a mode").permissions();
    fs::set_permissions(to, mode).expect("a mode");
}
