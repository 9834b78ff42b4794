//! Rules that several contexts share. Each refuses with a code for programs and a message for people.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;

use chrono::{DateTime, Datelike};

use crate::{Refusal, Rejection};

mod currencies;
mod postal;
pub(crate) mod refusals;
#[cfg(test)]
mod tests;

/// Lines of an order or a reservation, at most, so that a decision is a short transaction.
pub const LINES_MAX: usize = 500;
/// Units of a line, at most, so that sums over millions of lines fit into 64 bits.
pub const QUANTITY_MAX: i64 = 1_000_000_000;
/// The price of an order in minor units, at most, for the same reason.
pub const TOTAL_MAX: i64 = 1_000_000_000_000_000;

const ID_CHARACTERS_MAX: usize = 200;
/// Bytes of an id, at most: Elasticsearch refuses longer document ids.
const ID_BYTES_MAX: usize = 512;
const EMAIL_CHARACTERS_MAX: usize = 254;
const PHONE_CHARACTERS_MAX: usize = 40;
const PHONE_DIGITS_MIN: usize = 5;
const POSTAL_CODE: Text = Text::new("postal_code", refusals::POSTAL_CODE_INVALID, 1, 20);
const QUOTED_MAX: usize = 60;
const BASIS_POINTS: i64 = 10_000;

/// The result of a check.
pub type Checked = Result<(), Rejection>;

/// A text field with its limits. Control characters, such as NUL, are always refused, since Postgres cannot store them or people
/// cannot read them; line breaks and tabs are allowed in fields of several lines.
#[derive(Debug)]
pub struct Text {
    field: &'static str,
    refusal: Refusal,
    shortest: usize,
    longest: usize,
    lines: bool,
}

impl Text {
    /// A field with its name, how it is refused, and its length in characters.
    pub const fn new(field: &'static str, refusal: Refusal, shortest: usize, longest: usize) -> Self {
        Self { field, refusal, shortest, longest, lines: false }
    }

    /// The same field with several lines.
    pub const fn of_lines(self) -> Self {
        Self { lines: true, ..self }
    }

    /// Checks a value. Spaces around it do not count towards the shortest length.
    ///
    /// # Errors
    /// With this field's code.
    pub fn check(&self, value: &str) -> Checked {
        let Self { field, refusal, shortest, longest, lines } = self;
        let length = value.chars().count();
        if value.trim().chars().count() < *shortest || length > *longest {
            let (value, way_out) = (quoted(value), format!("send {shortest} to {longest} characters"));
            return Err(refusal.because(format!("{field} is {value} ({length} characters): {way_out}")));
        }
        let allowed = |character: &char| *lines && matches!(character, '\n' | '\r' | '\t');
        if let Some(character) = value.chars().find(|c| c.is_control() && !allowed(c)) {
            let character = character.escape_default();
            return Err(refusal.because(format!("{field} has the control character {character}: remove it")));
        }
        Ok(())
    }

    /// Checks an optional value.
    ///
    /// # Errors
    /// With this field's code.
    pub fn check_given(&self, value: Option<&str>) -> Checked {
        let checked = value.map_or(Ok(()), |value| self.check(value));
        checked.map_err(|rejection| Rejection { message: rejection.message + ", or send null", ..rejection })
    }
}

/// An id: 1 to 200 characters, at most 512 bytes, no control characters.
///
/// # Errors
/// `id-invalid`.
pub fn id(field: impl Display, value: &str) -> Checked {
    if is_id(value) {
        return Ok(());
    }
    let value = quoted(value);
    let message = format!(
        "{field} is {value}: send 1 to {ID_CHARACTERS_MAX} characters (at most {ID_BYTES_MAX} bytes) without \
             control characters"
    );
    Err(refusals::ID_INVALID.because(message))
}

/// The streams of a decision: the well-formed ids, each once. A malformed id is left out, since the command is going to be
/// rejected and the database could not look it up.
pub fn streams<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let ids: BTreeSet<&str> = ids.into_iter().take(LINES_MAX).filter(|id| is_id(id)).collect();
    ids.into_iter().map(str::to_owned).collect()
}

fn is_id(value: &str) -> bool {
    let fits = value.len() <= ID_BYTES_MAX && value.chars().count() <= ID_CHARACTERS_MAX;
    fits && !value.trim().is_empty() && !value.contains(char::is_control)
}

/// A current currency of ISO 4217. Only new values are checked: stored ones may have a currency that has ended since.
///
/// # Errors
/// `currency-invalid`.
pub fn currency(value: &str) -> Checked {
    if currencies::is_current(value) {
        return Ok(());
    }
    let value = quoted(value);
    Err(refusals::CURRENCY_INVALID.because(format!("currency is {value}: send an ISO 4217 code such as USD")))
}

/// Whether a text has the form of a currency's code, current or former.
pub(crate) fn is_like_a_currency(value: &str) -> bool {
    value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The form of an e-mail address; whether it exists is not checked.
///
/// # Errors
/// `email-invalid`.
pub fn email(value: &str) -> Checked {
    if is_email(value) {
        return Ok(());
    }
    let value = quoted(value);
    Err(refusals::EMAIL_INVALID
        .because(format!("email is {value}: send one such as ana@example.com, or null")))
}

fn is_email(value: &str) -> bool {
    let readable = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    let Some((mailbox, domain)) = value.split_once('@') else { return false };
    let labels = domain.split('.');
    value.chars().count() <= EMAIL_CHARACTERS_MAX
        && !mailbox.is_empty()
        && value.chars().filter(|c| !readable(*c)).count() == 1
        && labels.clone().count() >= 2
        && labels.into_iter().all(|label| !label.is_empty())
}

/// The form of a phone number: at least five digits, and usual separators.
///
/// # Errors
/// `phone-invalid`.
pub fn phone(value: &str) -> Checked {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let readable = value.chars().all(|c| c.is_ascii_digit() || " +-./()#x".contains(c));
    if readable && digits >= PHONE_DIGITS_MIN && value.len() <= PHONE_CHARACTERS_MAX {
        return Ok(());
    }
    let value = quoted(value);
    let message = format!(
        "phone is {value}: send {PHONE_DIGITS_MIN} or more digits with spaces or any of +-./()#x between them, \
             at most {PHONE_CHARACTERS_MAX} characters, or null"
    );
    Err(refusals::PHONE_INVALID.because(message))
}

/// A postal code of a country, and the country as ISO 3166-1 code of two letters. Where it is known how the country writes
/// postal codes, one is required and has that form.
///
/// # Errors
/// `country-code-invalid`, `postal-code-invalid`.
pub fn postal_code(country: &str, code: Option<&str>) -> Checked {
    if !postal::is_country(country) {
        let country = quoted(country);
        let message = format!("country is {country}: send an ISO 3166-1 code of two letters such as DE");
        return Err(refusals::COUNTRY_CODE_INVALID.because(message));
    }
    let Some(format) = postal::format_of(country) else { return POSTAL_CODE.check_given(code) };
    let code = code.unwrap_or_default();
    if format.is_match(code) {
        return Ok(());
    }
    let message = format!("postal_code is {}: send one as {country} writes it ({format})", quoted(code));
    Err(refusals::POSTAL_CODE_INVALID.because(message))
}

/// A price in minor units: 0 to [`TOTAL_MAX`].
///
/// # Errors
/// `price-negative`, `price-too-large`.
pub fn price(field: impl Display, value: i64) -> Checked {
    let refusal = match value {
        ..0 => refusals::PRICE_NEGATIVE,
        0..=TOTAL_MAX => return Ok(()),
        _ => refusals::PRICE_TOO_LARGE,
    };
    Err(refusal.because(format!("{field} is {value}: send minor units (cents), 0 to {TOTAL_MAX}")))
}

/// An amount of money in minor units: 1 to [`TOTAL_MAX`].
///
/// # Errors
/// `amount-invalid`.
pub fn amount(field: impl Display, value: i64) -> Checked {
    if (1..=TOTAL_MAX).contains(&value) {
        return Ok(());
    }
    Err(refusals::AMOUNT_INVALID
        .because(format!("{field} is {value}: send minor units (cents), 1 to {TOTAL_MAX}")))
}

/// A quantity: 1 to [`QUANTITY_MAX`].
///
/// # Errors
/// `quantity-invalid`.
pub fn quantity(field: impl Display, value: i64) -> Checked {
    if (1..=QUANTITY_MAX).contains(&value) {
        return Ok(());
    }
    Err(refusals::QUANTITY_INVALID.because(format!("{field} is {value}: send 1 to {QUANTITY_MAX} units")))
}

/// A discount in basis points: 0 to 10000.
///
/// # Errors
/// `discount-invalid`.
pub fn discount(field: impl Display, value: i32) -> Checked {
    if (0..=BASIS_POINTS).contains(&i64::from(value)) {
        return Ok(());
    }
    Err(refusals::DISCOUNT_INVALID
        .because(format!("{field} is {value}: send basis points (1/100 of a percent), 0 to {BASIS_POINTS}")))
}

/// The number of lines: 1 to [`LINES_MAX`].
///
/// # Errors
/// `empty` when there is none, `lines-too-many` above the limit.
pub fn line_count(field: &str, empty: Refusal, count: usize) -> Checked {
    match count {
        0 => Err(empty.because(format!("{field} is empty: send 1 to {LINES_MAX}"))),
        1..=LINES_MAX => Ok(()),
        _ => Err(refusals::LINES_TOO_MANY.because(format!(
            "{field} has {count} entries: send at most {LINES_MAX}, split the rest into other commands"
        ))),
    }
}

/// Every product at most once.
///
/// # Errors
/// `product-repeated`.
pub fn each_once<'a>(field: &str, products: impl IntoIterator<Item = &'a str>) -> Checked {
    let mut seen = HashSet::new();
    match products.into_iter().find(|product| !seen.insert(*product)) {
        None => Ok(()),
        Some(product) => Err(refusals::PRODUCT_REPEATED
            .because(format!("{field} names the product {} twice: send each product once", quoted(product)))),
    }
}

/// A time in microseconds since 1970: the years 1900 to 2200, which every database and library can hold.
///
/// # Errors
/// `time-invalid`.
pub fn time(field: &str, micros: i64) -> Checked {
    let year = DateTime::from_timestamp_micros(micros).map(|time| time.year());
    if year.is_some_and(|year| (1900..=2200).contains(&year)) {
        return Ok(());
    }
    Err(refusals::TIME_INVALID
        .because(format!("{field} is {micros}: send microseconds since 1970 UTC, in the years 1900 to 2200")))
}

/// quantity * unit_price * (10000 - discount_bp) / 10000, rounded half up; `None` when it does not fit.
pub fn line_amount(quantity: i64, unit_price: i64, discount_bp: i32) -> Option<i64> {
    let gross = i128::from(quantity) * i128::from(unit_price);
    let part = i128::from(BASIS_POINTS) - i128::from(discount_bp);
    let scaled = gross.checked_mul(part)?.checked_add(i128::from(BASIS_POINTS / 2))?;
    i64::try_from(scaled.div_euclid(i128::from(BASIS_POINTS))).ok()
}

/// A value as quoted in a message: shortened, and with control characters escaped.
pub fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED_MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
    }
}
