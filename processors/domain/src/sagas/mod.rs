//! Sagas: processes across contexts.

pub mod checkout;
pub mod fulfilment;
pub mod renewal;

/// Reasons of commands may have this many characters.
const REASON_MAX: usize = 500;

/// What others wrote, as a field of `longest` characters takes it.
fn readable(text: &str, longest: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(longest).collect()
}
