//! The effects: requests to external systems, and the meaning of their answers.

pub mod audience;
pub mod delivery;
pub mod mail;
pub mod payment;

/// A text of an external system, cut to `longest` characters.
fn words(text: &str, longest: usize) -> String {
    let readable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    match readable.trim() {
        "" => "not given".to_owned(),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_text_of_an_external_system_fits_its_field() {
        assert_eq!(words("no\0funds\r\n", 100), "no funds");
        assert_eq!(words(" \t", 100), "not given");
        assert_eq!(words("ääää", 3), "äää");
    }
}
