//! An instance on guarded components, configured by the blocks of docs/operations/security.md.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::body::Bytes;
use millrace_engine::access::Credentials;
use millrace_testkit::{Process, script};
use millrace_tests::eventually;
use millrace_tests::outcome::Outcome;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::proxy::Proxy;

const PAGE: &str = include_str!("../../docs/operations/security.md");
const MILLRACE: &str = env!("CARGO_BIN_EXE_millrace-under-test");

/// An instance, its files, and what stands before the registry and Connect.
pub(crate) struct Guarded {
    namespace: String,
    folder: PathBuf,
    /// What `scripts/stack env --secure` prints.
    stack: HashMap<String, String>,
    registry: Proxy,
    connect: Proxy,
    /// Every secret that there is or was.
    secrets: std::sync::Mutex<Vec<String>>,
}

impl Guarded {
    /// With its rights and its files; nothing is set up.
    pub(crate) async fn new() -> Self {
        let role = block("yaml").replace("millrace-*", "secure_*");
        assert_eq!(
            role,
            include_str!("../../scripts/stack.d/elasticsearch-roles.yml"),
            "the page has the stack's role"
        );
        let stack = environment();
        let namespace = format!("secure_{}", &Uuid::now_v7().simple().to_string()[20..]);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&namespace);
        fs::create_dir_all(&folder).expect("a folder");
        let tls = PathBuf::from(&stack["SECURE_TLS"]);
        let [search, token, password] = [secret(), secret(), secret()];
        set_search_password(&search);
        let registry =
            Proxy::before(&format!("http://{}", stack["SECURE_REGISTRY"]), &tls, &format!("Bearer {token}"))
                .await;
        let connect =
            Proxy::before(&format!("http://{}", stack["SECURE_CONNECT"]), &tls, &basic(&password)).await;
        let (kafka, database) = (&stack["SECURE_KAFKA_PASSWORD"], &stack["SECURE_DATABASE_PASSWORD"]);
        let secrets = [
            ("registry", token.clone()),
            ("connect", password.clone()),
            ("kafka", kafka.clone()),
            ("write-database", database.clone()),
            ("read-database", database.clone()),
            ("elasticsearch", search.clone()),
        ];
        for (name, secret) in &secrets {
            fs::write(folder.join(name), format!("{secret}\n")).expect("a secret");
        }
        let secrets = secrets.into_iter().map(|(_, secret)| secret).collect::<Vec<_>>().into();
        let guarded = Self { namespace, folder, stack, registry, connect, secrets };
        guarded.grant();
        guarded.configure();
        guarded
    }

    /// The rights in Kafka, as the page grants them.
    fn grant(&self) {
        for line in block("sh").lines() {
            let line = line.replace("millrace.", &format!("{}.", self.namespace));
            let words: Vec<&str> = line.split_whitespace().collect();
            let arguments = [&["tool", "--secure"], &words[..]].concat();
            script(&arguments).expect("a right");
        }
    }

    /// The file of the page, with the addresses and the folders of this machine.
    fn configure(&self) {
        let at = |service: &str| self.stack[service].clone();
        let text = [
            ("/etc/connect/credentials", at("SECURE_CONNECT_CREDENTIALS")),
            ("/etc/connect", at("SECURE_TLS")),
            ("/etc/millrace/credentials", self.folder.display().to_string()),
            ("/etc/millrace", at("SECURE_TLS")),
            ("kafka.example:9093", at("SECURE_KAFKA")),
            ("write.example:5432", at("SECURE_DATABASE")),
            ("read.example:5432", at("SECURE_DATABASE")),
            ("search.example:9200", at("SECURE_ELASTICSEARCH")),
            ("registry.example:8081", self.registry.address.to_string()),
            ("connect.example:8083", self.connect.address.to_string()),
        ]
        .into_iter()
        .fold(block("toml"), |text, (example, here)| text.replace(example, &here));
        assert!(!text.contains(".example"), "every address is of this machine:\n{text}");
        let own = format!(
            "namespace = \"{}\"\ncontexts = [\"catalog\", \"customers\", \"inventory\", \"orders\"]\n",
            self.namespace
        );
        fs::write(self.folder.join("millrace.toml"), own + &text).expect("a configuration");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MILLRACE);
        command.env_clear().arg("--config").arg(self.folder.join("millrace.toml")).args(arguments);
        command
    }

    /// Runs a command of the program.
    pub(crate) async fn millrace(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        let ended = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        Outcome::new(arguments, ended.expect("a program that starts"))
    }

    /// Starts all roles.
    pub(crate) fn run(&self) -> Process {
        let mut command = self.command(&["run", "--set", "http.listen=127.0.0.1:0"]);
        Process::start("millrace run", &mut command, &self.folder.join("run.log")).expect("a process")
    }

    /// Sends commands from a file.
    pub(crate) async fn send(&self, commands: &[String]) {
        let file = self.file("commands.jsonl", &commands.join("\n"));
        self.millrace(&["send", &file]).await.expect_success();
    }

    /// A file in the instance's folder, by its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let file = self.folder.join(name);
        fs::write(&file, content).expect("a file");
        file.display().to_string()
    }

    /// New secrets for Elasticsearch, the registry and Connect; those from before are good for nothing.
    pub(crate) fn replace_secrets(&self) {
        let [search, token, password] = [secret(), secret(), secret()];
        set_search_password(&search);
        self.file("elasticsearch", &search);
        self.file("registry", &token);
        self.file("connect", &password);
        self.registry.accepts(&format!("Bearer {token}"));
        self.connect.accepts(&basic(&password));
        self.secrets.lock().expect("no panic").extend([search, token, password]);
    }

    /// Neither in the log and the command line of a process nor in what is asked for do secrets appear.
    pub(crate) async fn no_secret_is_shown(&self, run: &Process) {
        let of_process = |file: &str| fs::read(format!("/proc/{}/{file}", run.pid())).expect("a process");
        let connector =
            format!("http://{}/connectors/{}_outbox", self.stack["SECURE_CONNECT"], self.namespace);
        let connector = reqwest::get(connector).await.expect("Connect").bytes().await.expect("its answer");
        assert!(connector.windows(6).any(|part| part == b"${dir:"), "the connector refers to its password");
        let shown = [
            Bytes::from(run.log()),
            of_process("cmdline").into(),
            of_process("environ").into(),
            connector,
            self.millrace(&["config", "show"]).await.stdout.into(),
            self.millrace(&["status", "--all"]).await.stdout.into(),
        ];
        let secrets = self.secrets.lock().expect("no panic").clone();
        assert!(secrets.len() >= 9, "all of them are looked for");
        for secret in &secrets {
            let shows = |text: &Bytes| text.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert_eq!(shown.iter().position(shows), None, "{secret} is shown");
        }
    }

    fn read_side(&self) -> PgPool {
        let (host, port) = self.stack["SECURE_DATABASE"].split_once(':').expect("host:port");
        let ca = Path::new(&self.stack["SECURE_TLS"]).join("ca.pem");
        let options = PgConnectOptions::new_without_pgpass().host(host).port(port.parse().expect("a port"));
        let options = options.username("millrace").password(&self.stack["SECURE_DATABASE_PASSWORD"]);
        let options = options.ssl_mode(sqlx::postgres::PgSslMode::VerifyFull).ssl_root_cert(ca);
        let options = options.database("millrace_read").options([("search_path", &self.namespace)]);
        PgPool::connect_lazy_with(options)
    }
}

/// Waits until a query has this many rows.
pub(crate) async fn rows(guarded: &Guarded, sql: &'static str, expected: usize) {
    let (pool, expected) = (guarded.read_side(), i64::try_from(expected).expect("a few"));
    eventually(&format!("{expected} of {sql}"), async || {
        let found: Result<i64, _> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&pool).await;
        match found.map_err(|error| error.to_string())? {
            found if found == expected => Ok(()),
            found => Err(found.to_string()),
        }
    })
    .await;
}

/// Sets the password of Elasticsearch's user, which its file has and it reads again within seconds.
fn set_search_password(password: &str) {
    script(&["tool", "--secure", "elasticsearch-users", "passwd", "millrace", "-p", password])
        .expect("another password");
}

/// The first block of the page in a language.
fn block(language: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0.to_owned()
}

fn environment() -> HashMap<String, String> {
    let printed = script(&["env", "--secure"]).expect("scripts/stack up --secure");
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    printed.lines().filter_map(line).collect()
}

fn secret() -> String {
    Uuid::new_v5(&Uuid::now_v7(), b"a secret of a story").simple().to_string()
}

fn basic(password: &str) -> String {
    let file = std::env::temp_dir().join(format!("millrace-secure-{}", Uuid::now_v7()));
    fs::write(&file, password).expect("a file");
    let credentials = Credentials::Basic("millrace".to_owned(), file.clone());
    let header = credentials.header().expect("a header");
    fs::remove_file(file).expect("no file");
    header.to_str().expect("text").to_owned()
}
