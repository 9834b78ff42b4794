//! Countries and their postal codes, as far as the data in `keshvar` goes (ISO 3166-1, and what post offices publish).

use std::collections::HashMap;
use std::sync::LazyLock;

use keshvar::{Alpha2, Country, SUPPORTED_ALPHA2_LIST};
use regex::Regex;

/// How countries write their postal codes, by ISO 3166-1 code of two letters: those of which it is known.
static FORMATS: LazyLock<HashMap<String, Regex>> = LazyLock::new(|| {
    let format = |country: &Alpha2| Some((country.to_string(), format(*country)?));
    SUPPORTED_ALPHA2_LIST.iter().filter_map(format).collect()
});

/// The pattern of the whole code, of ASCII characters.
fn format(country: Alpha2) -> Option<Regex> {
    let country = Country::from(country);
    let format = country.postal_code_format().filter(|_| country.postal_code())?;
    Regex::new(&format!("^(?-u:{format})$")).ok()
}

/// Whether it is an ISO 3166-1 code of two capital letters.
pub(super) fn is_country(code: &str) -> bool {
    code.bytes().all(|byte| byte.is_ascii_uppercase()) && Alpha2::try_from(code).is_ok()
}

/// The format of a country's postal codes, where it is known.
pub(super) fn format_of(country: &str) -> Option<&'static Regex> {
    FORMATS.get(country)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_countries_have_a_format_and_each_can_be_read() {
        let known = SUPPORTED_ALPHA2_LIST.iter().map(|country| Country::from(*country));
        let known = known.filter(|c| c.postal_code() && c.postal_code_format().is_some()).count();
        assert_eq!(FORMATS.len(), known);
        assert!(known > 150, "{known}");
    }
}
