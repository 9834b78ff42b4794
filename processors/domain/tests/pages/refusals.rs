//! The codes with which a context refuses commands.

use millrace_domain::Refusal;
use millrace_domain::registry::refusals;

/// Every refusal of the context, by code.
pub(super) fn table(context: &str) -> String {
    let row = |Refusal { code, when }: &Refusal| format!("| `{code}` | {when} |\n");
    let rows: String = refusals(context).iter().map(row).collect();
    format!("Its codes here:\n\n| code | refused when |\n|---|---|\n{rows}")
}
