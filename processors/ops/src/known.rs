//! Refusing unknown names, with the closest name and the known ones.

use crate::failure::Failure;

/// Names that are listed, at most.
const LISTED_MAX: usize = 30;
/// The similarity, from 0 to 1, from which a name is suggested.
const ALIKE: f64 = 0.75;

/// Refuses a name that is not among the known ones.
///
/// # Errors
/// [`Failure::Usage`].
pub fn among<N: AsRef<str>>(what: &str, name: &str, known: &[N]) -> Result<(), Failure> {
    if known.iter().any(|known| known.as_ref() == name) {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no {what} `{name}`{}", instead(name, known))))
}

/// The text after an unknown name.
pub fn instead<N: AsRef<str>>(name: &str, known: &[N]) -> String {
    let mut names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names.dedup();
    let meant = closest(name, &names).map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    match names.as_slice() {
        [] => "; there are none".to_owned(),
        names if meant.is_empty() => format!("; there are {}{more}", names.join(", ")),
        names => format!("{meant} There are {}{more}", names.join(", ")),
    }
}

/// The closest name.
pub fn closest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let scored = names.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    let alike = scored.filter(|(score, _)| *score >= ALIKE);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_refused_with_what_was_meant() {
        let known = ["orders", "customers", "commands"];
        assert!(among("group", "orders", &known).is_ok());
        let refused = among("group", "comands", &known).unwrap_err().to_string();
        assert_eq!(
            refused,
            "there is no group `comands`: did you mean `commands`? There are commands, customers, orders"
        );
        let refused = among("group", "xyz", &known).unwrap_err().to_string();
        assert_eq!(refused, "there is no group `xyz`; there are commands, customers, orders");
        assert_eq!(instead::<&str>("x", &[]), "; there are none");
    }

    #[test]
    fn a_list_of_names_has_an_end() {
        let many: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
        assert!(instead("x", &many).ends_with("28, 29 and 10 more"), "{}", instead("x", &many));
    }
}
