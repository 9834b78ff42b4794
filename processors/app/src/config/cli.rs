//! The command line of `millrace config`.

use clap::Subcommand;

use super::{explain, show};

/// The help's explanation of settings.
pub const HELP: &str = "\
The value of a setting is the first that is given by:
  1. a flag: --set kafka.brokers=k1:9092,k2:9092; --namespace
  2. the environment: MILLRACE_KAFKA__BROKERS, with __ for each dot; then the variables without prefix:
     KAFKA_BROKERS, WRITE_DATABASE_URL, READ_DATABASE_URL, WRITE_DATABASE_PASSWORD_FILE,
     READ_DATABASE_PASSWORD_FILE, ELASTICSEARCH_URL, SCHEMA_REGISTRY_URL, CONNECT_URL
  3. the file: --config FILE, else millrace.toml here: `brokers = \"k1:9092\"` in the table [kafka]
  4. its default

Durations have units: 500ms, 20s, 5m, 12h, 30d; sizes too: 512KiB, 40MiB. Lists are written \
[\"1s\", \"10s\"], in flags and the environment also 1s,10s. Entries are written \
{\"fulfilment.deadline\" = \"5m\"}, or one at a time: --set sagas.timers.fulfilment.deadline=5m.
docs/configuration.md explains every setting.

Examples:
  millrace config show                       every setting
  millrace config show kafka postgres.write  only these
  millrace config show --changed             only settings that differ from the default
  millrace config explain retries.delays     what it means; audit explains all of a component
  millrace config check --config next.toml   check whether `run` could start; exit code 2 and the reason if not

Passwords, tokens and Kafka's properties are shown as ***.";

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show every setting, its value in force and where it comes from; secrets as ***
    #[command(after_help = HELP)]
    Show(show::Options),
    /// Explain settings: what they mean, their default, the value in force and where it comes from
    Explain(explain::Options),
    /// Check the configuration as `millrace run` does when it starts; connects to nothing
    #[command(after_help = HELP)]
    Check,
}
