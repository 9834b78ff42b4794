//! What the command line says of the configuration.

use std::path::PathBuf;

use clap::Args;
use figment::value::{Dict, Value};

use crate::failure::Failure;
use crate::output::Format;

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// A TOML file with configuration [default: millrace.toml, when it is there]
    #[arg(long, global = true, value_name = "FILE", env = "MILLRACE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Name of the instance; two share one stack [default: millrace]
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Sets one field of the configuration; `millrace --help` lists them
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
}

impl Global {
    /// The configuration that the command line sets.
    ///
    /// # Errors
    /// [`Failure::Usage`] when `--set` is not `FIELD=VALUE` or names no field.
    pub fn settings(&self, fields: &[&str]) -> Result<Dict, Failure> {
        let mut settings = Dict::new();
        for assignment in &self.set {
            let (field, value) = assignment
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {assignment}: write FIELD=VALUE")))?;
            if !fields.contains(&field) {
                return Err(Failure::usage(format!(
                    "--set {field}: there is no such field; there are {}",
                    fields.join(", ")
                )));
            }
            settings.insert(field.to_owned(), super::value(field, value));
        }
        settings.extend(self.namespace.clone().map(|name| ("namespace".to_owned(), Value::from(name))));
        Ok(settings)
    }
}
