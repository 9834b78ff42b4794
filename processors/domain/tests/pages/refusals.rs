//! The codes with which a context refuses commands.

use millrace_domain::registry::{self, Visitor};
use millrace_domain::{Context, Effect, Log, Refusal, Saga, Tally, View};

/// Every refusal of the context, by code.
pub(super) fn table(context: &str) -> String {
    let mut found = Refusals { context, refusals: Vec::new() };
    registry::visit(&mut found);
    found.refusals.sort_by_key(|refusal| refusal.code);
    let row = |Refusal { code, when }: &Refusal| format!("| `{code}` | {when} |\n");
    let rows: String = found.refusals.iter().map(row).collect();
    format!("Its codes here:\n\n| code | refused when |\n|---|---|\n{rows}")
}

struct Refusals<'c> {
    context: &'c str,
    refusals: Vec<Refusal>,
}

impl Visitor for Refusals<'_> {
    fn context<C: Context>(&mut self) {
        if C::NAME == self.context {
            self.refusals.extend(C::REFUSALS);
        }
    }

    fn view<V: View>(&mut self) {}

    fn tally<T: Tally>(&mut self) {}

    fn log<L: Log>(&mut self) {}

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}
