//! The effects: what is asked of the outside world, and what its answers mean here.

pub mod audience;
pub mod delivery;
pub mod mail;
pub mod payment;

/// What the outside says in words, so that a field of `longest` characters takes it.
fn words(told: &str, longest: usize) -> String {
    let readable: String = told.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    match readable.trim() {
        "" => "not told".to_owned(),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn what_the_outside_says_fits_its_field() {
        assert_eq!(words("no\0funds\r\n", 100), "no funds");
        assert_eq!(words(" \t", 100), "not told");
        assert_eq!(words("ääää", 3), "äää");
    }
}
