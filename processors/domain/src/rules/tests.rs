//! Tests of the shared rules.

use proptest::prelude::*;

use super::*;

const NAME: Text = Text::new("name", refusals::NAME_INVALID, 2, 200);

fn code(checked: Checked) -> &'static str {
    checked.expect_err("refused").code
}

#[test]
fn a_text_has_a_shortest_and_a_longest_length_in_characters() {
    assert_eq!(NAME.check("Øs"), Ok(()));
    assert_eq!(NAME.check(&"é".repeat(200)), Ok(()));
    for refused in ["", "a", " a ", &"a".repeat(201)] {
        assert_eq!(code(NAME.check(refused)), "name-invalid");
    }
}

#[test]
fn a_nul_byte_is_refused_everywhere_and_never_repeated_in_a_message() {
    let refusals = [
        NAME.check("An\0a"),
        NAME.check_given(Some("An\0a")),
        id("order_id", "4\0"),
        email("a\0@b.c"),
        phone("12345\0"),
        currency("US\0"),
    ];
    for refusal in refusals {
        let message = refusal.expect_err("refused").message;
        assert!(!message.contains('\0'), "{message}");
    }
}

#[test]
fn an_optional_text_may_be_left_out_but_not_be_empty() {
    let city = Text::new("city", refusals::TEXT_INVALID, 1, 200);
    assert_eq!(city.check_given(None), Ok(()));
    assert_eq!(city.check_given(Some("Graz")), Ok(()));
    assert_eq!(code(city.check_given(Some(""))), "text-invalid");
}

#[test]
fn a_text_of_lines_may_have_line_ends_and_tabs_and_no_other_control_character() {
    let body = Text::new("body", refusals::TEXT_INVALID, 1, 200).of_lines();
    assert_eq!(body.check("Dear Ana,\r\n\n\tit is on its way.\n"), Ok(()));
    assert_eq!(code(NAME.check("Dear\nAna")), "name-invalid");
    for refused in ["\n", "An\0a", "An\u{1b}a", "An\u{85}a"] {
        assert_eq!(code(body.check(refused)), "text-invalid");
    }
}

#[test]
fn an_amount_is_one_minor_unit_or_more() {
    assert_eq!(amount("amount", 1), Ok(()));
    assert_eq!(amount("amount", TOTAL_MAX), Ok(()));
    for refused in [i64::MIN, 0, TOTAL_MAX + 1] {
        assert_eq!(code(amount("amount", refused)), "amount-invalid");
    }
}

#[test]
fn an_id_fits_postgres_and_elasticsearch() {
    assert_eq!(id("order_id", "10248"), Ok(()));
    assert_eq!(id("order_id", &"a".repeat(200)), Ok(()));
    for refused in ["", " ", "a\tb", &"a".repeat(201), &"\u{1F980}".repeat(129)] {
        assert_eq!(code(id("order_id", refused)), "id-invalid");
    }
}

#[test]
fn streams_are_named_once_and_malformed_ids_not_at_all() {
    assert_eq!(streams(["b", "a", "b", "", "\0"]), ["a", "b"]);
}

#[test]
fn a_currency_is_a_code_of_iso_4217() {
    for accepted in ["USD", "EUR", "JPY", "KWD", "XOF", "ZWG"] {
        assert_eq!(currency(accepted), Ok(()));
    }
    for refused in ["", "usd", "USDT", "U1D", "ÜS", "ZZZ", "XXX", "DEM"] {
        assert_eq!(code(currency(refused)), "currency-invalid");
    }
}

#[test]
fn an_email_address_has_one_at_sign_and_a_domain_with_a_dot() {
    for accepted in ["ana@example.com", "a.b+c@mail.example.co.uk", "søren@høj.dk"] {
        assert_eq!(email(accepted), Ok(()));
    }
    for refused in ["", "ana", "@example.com", "ana@example", "ana@.com", "a@b@c.de", "an a@example.com"] {
        assert_eq!(code(email(refused)), "email-invalid");
    }
}

#[test]
fn a_phone_number_has_at_least_five_digits() {
    for accepted in ["030-0074321", "(5) 555-4729", "40.32.21.21", "+45 86 21 32 43 x9"] {
        assert_eq!(phone(accepted), Ok(()));
    }
    for refused in ["", "1234", "call me 12345", &"1".repeat(41)] {
        assert_eq!(code(phone(refused)), "phone-invalid");
    }
}

#[test]
fn a_time_lies_in_years_that_every_component_can_hold() {
    let micros = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros();
    for accepted in ["1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2200-12-31T23:59:59Z"] {
        assert_eq!(time("placed_at", micros(accepted)), Ok(()));
    }
    let refused = [micros("1899-12-31T23:59:59Z"), micros("2201-01-01T00:00:00Z"), i64::MIN, i64::MAX];
    for refused in refused {
        assert_eq!(code(time("placed_at", refused)), "time-invalid");
    }
}

#[test]
fn a_line_amount_is_rounded_half_up_to_the_minor_unit() {
    assert_eq!(line_amount(3, 333, 0), Some(999));
    assert_eq!(line_amount(1, 1, 5_000), Some(1), "0.5 is rounded up");
    assert_eq!(line_amount(1, 3, 5_000), Some(2), "1.5 is rounded up");
    assert_eq!(line_amount(1, 1, 5_001), Some(0), "0.4999 is rounded down");
    assert_eq!(line_amount(7, 1_000, 10_000), Some(0));
}

#[test]
fn a_line_amount_that_does_not_fit_is_none() {
    assert_eq!(line_amount(i64::MAX, 1, 0), Some(i64::MAX));
    assert_eq!(line_amount(i64::MAX, 2, 0), None);
    assert_eq!(line_amount(i64::MAX, i64::MAX, 0), None);
    assert_eq!(line_amount(i64::MIN, i64::MIN, i32::MIN), None);
}

#[test]
fn a_long_value_is_repeated_in_part() {
    assert_eq!(quoted("a\u{0}b"), r#""a\0b""#);
    assert!(quoted(&"é".repeat(10_000)).chars().count() < 70);
}

proptest! {
    /// The reverse calculation: the price less the discount, with the discount rounded half down.
    #[test]
    fn a_line_amount_is_the_price_less_the_discount(
        quantity in 1..=QUANTITY_MAX, unit_price in 0..=1_000_000_000_i64, discount_bp in 0..=10_000_i32,
    ) {
        let gross = i128::from(quantity) * i128::from(unit_price);
        let (whole, rest) = (gross / 10_000, gross % 10_000);
        let rest_discount = rest * i128::from(discount_bp);
        let rounded_half_down = rest_discount / 10_000 + i128::from(rest_discount % 10_000 > 5_000);
        let expected = gross - whole * i128::from(discount_bp) - rounded_half_down;
        prop_assert_eq!(line_amount(quantity, unit_price, discount_bp).map(i128::from), Some(expected));
    }

    #[test]
    fn no_rule_panics(number: i64, other: i64, discount_bp: i32, value: String) {
        let _ = line_amount(number, other, discount_bp);
        let _ = (id("id", &value), email(&value), phone(&value), currency(&value), NAME.check(&value));
        let _ = (time("time", number), quantity("quantity", number), price("price", number));
        let _ = (discount("discount", discount_bp), quoted(&value));
    }
}
