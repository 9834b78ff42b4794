//! Sagas: processes across contexts.

pub mod checkout;
pub mod fulfilment;
pub mod renewal;

/// Characters of a command's reason, at most.
const REASON_MAX: usize = 500;

/// A text of another context, cut to `longest` characters.
fn readable(text: &str, longest: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(longest).collect()
}
