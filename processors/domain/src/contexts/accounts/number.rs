//! Account numbers: an account's id and two check digits (ISO 7064 MOD 97-10), as for IBANs (ISO 13616) and LEIs (ISO 17442).
//! They detect every wrong character and every swap of adjacent ones.

use super::refusals;
use crate::rules::{Checked, quoted};

/// Characters of an account's id, at most.
const CHARACTERS_MAX: usize = 20;
const MODULUS: u32 = 97;

/// An account's id: 1 to 20 capital letters and digits, so that a number can be made of it.
///
/// # Errors
/// `account-id-invalid`.
pub(super) fn check_id(field: &str, value: &str) -> Checked {
    let fits = (1..=CHARACTERS_MAX).contains(&value.len());
    if fits && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return Ok(());
    }
    let value = quoted(value);
    Err(refusals::ACCOUNT_ID_INVALID
        .because(format!("{field} is {value}: send 1 to {CHARACTERS_MAX} capital letters and digits")))
}

/// The number of the account with this id. Without its last two characters it is the id again.
pub fn account_number(account_id: &str) -> String {
    // So that the whole number is 1 modulo 97.
    let check = MODULUS + 1 - remainder(account_id);
    format!("{account_id}{check:02}")
}

/// `text` followed by two zeros as a number modulo 97, its letters read as 10 to 35.
fn remainder(text: &str) -> u32 {
    let digits = text.chars().filter_map(|character| character.to_digit(36));
    let sum = digits.fold(0, |sum, digit| {
        let shift = if digit < 10 { 10 } else { 100 };
        (sum * shift + digit) % MODULUS
    });
    sum * 100 % MODULUS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check digits of IBANs that ISO 13616 and banks publish, over the account and the country; and of an LEI.
    #[test]
    fn check_digits_are_those_of_published_ibans_and_leis() {
        for (id, number) in [
            ("WEST12345698765432GB", "WEST12345698765432GB82"),
            ("370400440532013000DE", "370400440532013000DE89"),
            ("HWUPKR0MPOU8FGXBT3", "HWUPKR0MPOU8FGXBT394"),
        ] {
            assert_eq!(account_number(id), number);
        }
    }

    #[test]
    fn a_wrong_character_or_a_swap_of_adjacent_ones_shows_in_the_check_digits() {
        let check = |id: &str| account_number(id).split_off(id.len());
        for id in ["A12346", "B12345", "A12354", "1A2345", "A21345"] {
            assert_ne!(check(id), check("A12345"), "{id}");
        }
    }

    #[test]
    fn only_one_to_twenty_capital_letters_and_digits_are_an_id() {
        for id in ["0", "Z", "A1", &"Z".repeat(20)] {
            assert_eq!(check_id("account_id", id), Ok(()));
            assert_eq!(account_number(id).len(), id.len() + 2);
        }
        for id in ["", "a", "A-1", "A 1", "Ä", "cash", &"Z".repeat(21)] {
            assert_eq!(check_id("account_id", id).map_err(|r| r.code), Err("account-id-invalid"), "{id}");
        }
    }
}
