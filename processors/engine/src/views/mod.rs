//! Folding events into read models: rows, tallies and logs.

mod columns;
pub(crate) mod intake;
mod log;
mod row;
pub mod shape;
mod tally;

use std::sync::Arc;

pub use log::LogRole;
pub use row::RowRole;
pub use tally::TallyRole;

use millrace_store::Group;
use millrace_store::names::{Namespace, table};

use crate::database::Pool;
use crate::registry::Registry;

/// Shared by the roles of all views.
#[derive(Clone)]
pub struct Shared {
    /// The read side.
    pub pool: Pool,
    /// The schema registry.
    pub registry: Arc<Registry>,
    /// The namespace of the topics, tables and indices.
    pub namespace: Namespace,
    /// Whether rows are also published to Elasticsearch. Rows that change while this is off are not sent later.
    pub publish: bool,
}

impl Shared {
    fn group(&self, view: &str, generation: i32) -> Group {
        Group { id: self.namespace.group(view), generation }
    }
}

/// The statements that create a view's table and SQL view, with the names of this namespace and generation.
pub fn ddl(text: &str, namespace: &Namespace, view: &str, generation: i32) -> String {
    let schema = namespace.database_schema();
    text.replace("{schema}", &format!("\"{schema}\""))
        .replace("{table}", &format!("\"{schema}\".\"{}\"", table(view, generation)))
        .replace("{view}", &format!("\"{schema}\".\"{view}\""))
}
