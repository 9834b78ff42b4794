//! Settings from a TOML file, with their lines.

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};

use super::given::Given;
use super::names::{below, is_component};
use super::origin::Origin;

/// The settings of a file.
///
/// # Errors
/// Names the file, the line and the problem, and never a value.
pub(super) fn given(path: &str, text: &str) -> Result<Vec<Given>, String> {
    let content: Dict = Toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| format!(":{}", line_at(text, span.start))).unwrap_or_default();
        format!("{path}{line}: {}", error.message())
    })?;
    let lines = toml_edit::ImDocument::parse(text).map_err(|error| format!("{path}: {}", error.message()))?;
    let file = File { path, text, lines: lines.as_table() };
    let mut given = Vec::new();
    file.collect("", content, &mut Vec::new(), &mut given)?;
    Ok(given)
}

/// A file while it is read.
struct File<'f> {
    path: &'f str,
    text: &'f str,
    lines: &'f toml_edit::Table,
}

impl File<'_> {
    fn collect(
        &self,
        parent: &str,
        content: Dict,
        keys: &mut Vec<String>,
        given: &mut Vec<Given>,
    ) -> Result<(), String> {
        for (key, value) in content {
            let name = below(parent, &key);
            keys.push(key);
            match value {
                Value::Dict(_, children) if is_component(&name) => {
                    self.collect(&name, children, keys, given)?;
                }
                value => given.push(Given::of_value(&name, value, self.origin(keys))?),
            }
            keys.pop();
        }
        Ok(())
    }

    fn origin(&self, keys: &[String]) -> Origin {
        let line = self.line(keys).map(|line| format!(":{line}")).unwrap_or_default();
        Origin::File(format!("{}{line}", self.path))
    }

    /// The line of a key.
    fn line(&self, keys: &[String]) -> Option<usize> {
        let (last, parents) = keys.split_last()?;
        let mut table: &dyn toml_edit::TableLike = self.lines;
        for key in parents {
            table = table.get(key)?.as_table_like()?;
        }
        let (key, _) = table.get_key_value(last)?;
        key.span().map(|span| line_at(self.text, span.start))
    }
}

fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}
