//! Options of the command line that give settings.

use std::path::PathBuf;

use clap::Args;

use super::given::Given;
use super::origin::Origin;
use crate::output::Format;

/// The heading of these options in the help of each command.
pub const GLOBAL: &str = "Global options";

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// A TOML file with settings [default: millrace.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "MILLRACE_CONFIG", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Name of the instance; several can share one stack [default: millrace]
    #[arg(long, short, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub namespace: Option<String>,
    /// Set a setting, such as kafka.session_timeout=30s; `millrace config show` lists all settings
    #[arg(long = "set", value_name = "SETTING=VALUE", help_heading = GLOBAL)]
    pub set: Vec<String>,
    /// The format of the output
    #[arg(long, global = true, value_enum, default_value_t, help_heading = GLOBAL)]
    pub format: Format,
}

impl Global {
    /// The settings that the command line gives; a later one overrides an earlier one.
    ///
    /// # Errors
    /// When `--set` is not `SETTING=VALUE` or names no setting.
    pub(super) fn given(&self) -> Result<Vec<Given>, String> {
        let set = self.set.iter().map(|assignment| {
            let parts = assignment.split_once('=');
            let (name, text) = parts.ok_or_else(|| format!("--set {assignment}: write SETTING=VALUE"))?;
            Given::of_text(name, text, Origin::Flag(format!("--set {name}")))
        });
        let namespace = self.namespace.iter();
        let namespace =
            namespace.map(|name| Given::of_text("namespace", name, Origin::Flag("--namespace".to_owned())));
        set.chain(namespace).collect()
    }
}
