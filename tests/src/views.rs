//! The views of an instance.

use millrace_domain::registry::{self, Visitor};
use millrace_domain::{Context, Effect, Log, Saga, Tally};

/// A view, whether it is in Postgres and in Elasticsearch, and the contexts whose events it reads.
pub struct View {
    /// Its name, and that of its group and table.
    pub name: &'static str,
    /// The contexts whose events it reads.
    pub contexts: Vec<&'static str>,
    /// Whether it has a table; one that has keeps `progress`.
    pub table: bool,
    /// Whether it has an index.
    pub index: bool,
    /// For a view of rows, the key column, which is also the documents' id.
    pub key: Option<&'static str>,
}

/// The views of an instance that has these contexts, and what they read of them.
pub fn of(contexts: &[&'static str]) -> Vec<View> {
    let mut all = All(Vec::new());
    registry::visit(&mut all);
    all.0.iter_mut().for_each(|view| view.contexts.retain(|context| contexts.contains(context)));
    all.0.retain(|view| !view.contexts.is_empty());
    all.0
}

struct All(Vec<View>);

impl Visitor for All {
    fn context<C: Context>(&mut self) {}

    fn view<V: millrace_domain::View>(&mut self) {
        let index = V::MAPPING.is_some();
        self.0.push(View {
            name: V::NAME,
            contexts: V::CONTEXTS.to_vec(),
            table: true,
            index,
            key: Some(V::KEY),
        });
    }

    fn tally<T: Tally>(&mut self) {
        self.0.push(View {
            name: T::NAME,
            contexts: T::CONTEXTS.to_vec(),
            table: true,
            index: false,
            key: None,
        });
    }

    fn log<L: Log>(&mut self) {
        self.0.push(View {
            name: L::NAME,
            contexts: L::CONTEXTS.to_vec(),
            table: false,
            index: true,
            key: None,
        });
    }

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}
