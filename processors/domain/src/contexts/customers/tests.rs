//! Customers: which commands are accepted and which are refused.

use millrace_schemas::customers::{
    AssessCustomerRisk, ChangeCustomerDetails, CustomerAddressRemoved, CustomerAddressSet,
    CustomerBirthDateSet, CustomerPreferenceSet, CustomerRiskAssessed, CustomerTagged, CustomerUntagged,
    RegisterCustomer, RemoveCustomerAddress, SetCustomerAddress, SetCustomerBirthDate, SetCustomerPreference,
    TagCustomer, UntagCustomer,
};
use proptest::prelude::*;

use super::addresses::{ADDRESSES_MAX, Addresses};
use super::preferences::PREFERENCES_MAX;
use super::tags::TAGS_MAX;
use super::*;
use crate::testing::given;

fn register() -> RegisterCustomer {
    RegisterCustomer {
        customer_id: "ALFKI".into(),
        name: "Alfreds Futterkiste".into(),
        contact_name: Some("Maria Anders".into()),
        email: None,
        phone: Some("030-0074321".into()),
        city: Some("Berlin".into()),
        country: Some("Germany".into()),
    }
}

fn change() -> ChangeCustomerDetails {
    let RegisterCustomer { customer_id, name, contact_name, email, phone, city, country } = register();
    ChangeCustomerDetails { customer_id, name, contact_name, email, phone, city, country }
}

fn registered() -> Event {
    Details::from(&register()).registered("ALFKI").into()
}

fn changed(command: &ChangeCustomerDetails) -> Event {
    Details::from(command).changed("ALFKI").into()
}

#[test]
fn a_customer_is_registered() {
    given::<Customers>([]).when(Command::from(register())).then([registered()]);
}

#[test]
fn a_customer_is_registered_only_once() {
    given::<Customers>([registered()]).when(register()).then_rejected("customer-exists");
}

#[test]
fn a_name_of_one_character_is_rejected() {
    given::<Customers>([])
        .when(RegisterCustomer { name: "A".into(), ..register() })
        .then_rejected("name-invalid");
}

#[test]
fn a_nul_byte_in_the_name_is_rejected() {
    let command = RegisterCustomer { name: "Al\0fred".into(), ..register() };
    given::<Customers>([]).when(command).then_rejected("name-invalid");
}

#[test]
fn a_malformed_id_is_rejected() {
    let command = RegisterCustomer { customer_id: "AL\0FKI".into(), ..register() };
    given::<Customers>([]).when(command).then_rejected("id-invalid");
}

#[test]
fn a_customer_without_email_and_phone_is_rejected() {
    let command = RegisterCustomer { email: None, phone: None, ..register() };
    given::<Customers>([]).when(command).then_rejected("contact-missing");
}

#[test]
fn an_email_address_alone_is_enough() {
    let command = RegisterCustomer { email: Some("maria@example.de".into()), phone: None, ..register() };
    let happens = Details::from(&command).registered("ALFKI");
    given::<Customers>([]).when(command).then([happens.into()]);
}

#[test]
fn an_email_address_that_is_given_must_be_valid() {
    let command = RegisterCustomer { email: Some("maria".into()), ..register() };
    given::<Customers>([]).when(command).then_rejected("email-invalid");
}

#[test]
fn a_phone_number_that_is_given_must_be_valid() {
    let command =
        RegisterCustomer { email: Some("maria@example.de".into()), phone: Some("none".into()), ..register() };
    given::<Customers>([]).when(command).then_rejected("phone-invalid");
}

#[test]
fn an_empty_or_endless_detail_is_rejected() {
    let long = Some("x".repeat(201));
    let empty = Some(String::new());
    given::<Customers>([])
        .when(RegisterCustomer { contact_name: long, ..register() })
        .then_rejected("contact-name-invalid");
    given::<Customers>([])
        .when(RegisterCustomer { city: empty.clone(), ..register() })
        .then_rejected("city-invalid");
    given::<Customers>([])
        .when(RegisterCustomer { country: empty, ..register() })
        .then_rejected("country-invalid");
}

#[test]
fn details_are_changed() {
    let command = ChangeCustomerDetails { city: Some("Bonn".into()), ..change() };
    let happens = changed(&command);
    given::<Customers>([registered()]).when(command).then([happens]);
}

#[test]
fn changing_to_the_same_details_is_accepted_and_nothing_happens() {
    given::<Customers>([registered()]).when(change()).then([]);
}

#[test]
fn the_details_after_a_change_are_the_ones_to_compare_with() {
    let to_bonn = ChangeCustomerDetails { city: Some("Bonn".into()), ..change() };
    given::<Customers>([registered(), changed(&to_bonn)]).when(change()).then([changed(&change())]);
}

#[test]
fn details_of_an_unknown_customer_are_not_changed() {
    given::<Customers>([]).when(change()).then_rejected("customer-unknown");
}

#[test]
fn a_change_follows_the_rules_of_a_registration() {
    let command = ChangeCustomerDetails { phone: None, ..change() };
    given::<Customers>([registered()]).when(command).then_rejected("contact-missing");
}

#[test]
fn others_see_the_name_the_email_address_and_the_country() {
    let command = ChangeCustomerDetails { email: Some("maria@example.de".into()), ..change() };
    let events = [registered(), changed(&command)];
    let state = events.iter().fold(None, Customers::evolve).expect("a customer");
    let (name, email) = ("Alfreds Futterkiste".to_owned(), Some("maria@example.de".to_owned()));
    let (country, addresses) = (Some("Germany".into()), Addresses::default());
    let public = CustomerPublic { name, email, country, addresses };
    assert_eq!(Customers::public(&state), public);
}

#[test]
fn a_change_before_the_registration_cannot_be_and_leaves_nothing() {
    assert_eq!(Customers::evolve(None, &changed(&change())), None);
}

const JULY_4_1996: i64 = 836_438_400_000_000;

fn tag(tag: &str) -> TagCustomer {
    TagCustomer { customer_id: "ALFKI".into(), tag: tag.into() }
}

fn untag(tag: &str) -> UntagCustomer {
    UntagCustomer { customer_id: "ALFKI".into(), tag: tag.into() }
}

fn tagged(tag: &str) -> Event {
    CustomerTagged { customer_id: "ALFKI".into(), tag: tag.into() }.into()
}

fn untagged(tag: &str) -> Event {
    CustomerUntagged { customer_id: "ALFKI".into(), tag: tag.into() }.into()
}

fn prefer(name: &str, value: Option<&str>) -> SetCustomerPreference {
    let [customer_id, name] = ["ALFKI", name].map(str::to_owned);
    SetCustomerPreference { customer_id, name, value: value.map(str::to_owned) }
}

fn preferred(name: &str, value: Option<&str>) -> Event {
    let SetCustomerPreference { customer_id, name, value } = prefer(name, value);
    CustomerPreferenceSet { customer_id, name, value }.into()
}

fn assess(score: i32, micros: i64) -> AssessCustomerRisk {
    let [customer_id, reason] = ["ALFKI", "pays late"].map(str::to_owned);
    AssessCustomerRisk { customer_id, score, reason, assessed_at: JULY_4_1996 + micros }
}

fn assessed(score: i32, micros: i64) -> Event {
    let AssessCustomerRisk { customer_id, score, reason, assessed_at } = assess(score, micros);
    CustomerRiskAssessed { customer_id, score, reason, assessed_at }.into()
}

#[test]
fn a_customer_is_tagged_and_untagged() {
    given::<Customers>([registered()]).when(tag("key account")).then([tagged("key account")]);
    given::<Customers>([registered(), tagged("vip")]).when(untag("vip")).then([untagged("vip")]);
}

#[test]
fn a_tag_that_is_there_already_or_not_there_at_all_is_accepted_and_nothing_happens() {
    given::<Customers>([registered(), tagged("vip")]).when(tag("vip")).then([]);
    given::<Customers>([registered(), tagged("vip"), untagged("vip")]).when(untag("vip")).then([]);
}

#[test]
fn a_tag_is_lower_case_words() {
    for malformed in ["", " ", "VIP", "key  account", " vip", "vip ", "a\tb", "a\0", "a.b", &"x".repeat(41)] {
        given::<Customers>([registered()]).when(tag(malformed)).then_rejected("tag-invalid");
        given::<Customers>([registered()]).when(untag(malformed)).then_rejected("tag-invalid");
    }
    for well_formed in ["größe 3", "b2b", "e-mail only", &"x".repeat(40)] {
        given::<Customers>([registered()]).when(tag(well_formed)).then([tagged(well_formed)]);
    }
}

#[test]
fn a_customer_has_at_most_50_tags() {
    let tags = (0..50).map(|n| tagged(&n.to_string()));
    let past = || given::<Customers>(std::iter::once(registered()).chain(tags.clone()));
    past().when(tag("50")).then_rejected("tags-too-many");
    past().when(tag("49")).then([]);
    past().when(untag("49")).then([untagged("49")]);
}

#[test]
fn a_preference_is_set_replaced_and_removed() {
    given::<Customers>([registered()])
        .when(prefer("language", Some("de")))
        .then([preferred("language", Some("de"))]);
    let past = || given::<Customers>([registered(), preferred("language", Some("de"))]);
    past().when(prefer("language", Some("fr"))).then([preferred("language", Some("fr"))]);
    past().when(prefer("language", None)).then([preferred("language", None)]);
}

#[test]
fn a_preference_that_is_so_already_is_accepted_and_nothing_happens() {
    let past = || given::<Customers>([registered(), preferred("language", Some("de"))]);
    past().when(prefer("language", Some("de"))).then([]);
    past().when(prefer("delivery", None)).then([]);
}

#[test]
fn a_malformed_preference_is_rejected() {
    for name in ["", "Language", "a.b", "a b", "größe", &"x".repeat(41)] {
        given::<Customers>([registered()])
            .when(prefer(name, Some("de")))
            .then_rejected("preference-name-invalid");
    }
    for value in ["", " ", "\0", &"x".repeat(201)] {
        given::<Customers>([registered()])
            .when(prefer("language", Some(value)))
            .then_rejected("preference-value-invalid");
    }
}

#[test]
fn a_customer_has_at_most_50_preferences() {
    let preferences = (0..50).map(|n| preferred(&n.to_string(), Some("yes")));
    let past = || given::<Customers>(std::iter::once(registered()).chain(preferences.clone()));
    past().when(prefer("50", Some("yes"))).then_rejected("preferences-too-many");
    past().when(prefer("49", Some("no"))).then([preferred("49", Some("no"))]);
    past().when(prefer("49", None)).then([preferred("49", None)]);
}

#[test]
fn a_later_assessment_wins_and_an_older_one_is_rejected() {
    given::<Customers>([registered()]).when(assess(0, 1)).then([assessed(0, 1)]);
    let past = || given::<Customers>([registered(), assessed(70, 5)]);
    past().when(assess(100, 6)).then([assessed(100, 6)]);
    past().when(assess(30, 5)).then([assessed(30, 5)]);
    past().when(assess(30, 4)).then_rejected("risk-assessment-outdated");
}

#[test]
fn a_malformed_assessment_is_rejected() {
    let refused = |command: AssessCustomerRisk, code: &str| {
        given::<Customers>([registered()]).when(command).then_rejected(code);
    };
    refused(assess(-1, 0), "risk-score-invalid");
    refused(assess(101, 0), "risk-score-invalid");
    refused(AssessCustomerRisk { reason: " ".into(), ..assess(1, 0) }, "reason-invalid");
    refused(AssessCustomerRisk { assessed_at: i64::MAX, ..assess(1, 0) }, "time-invalid");
}

fn address(address_id: &str) -> SetCustomerAddress {
    let [customer_id, address_id, line1, city, country] =
        ["ALFKI", address_id, "Obere Str. 57", "Berlin", "DE"].map(str::to_owned);
    SetCustomerAddress {
        customer_id,
        address_id,
        recipient: None,
        line1,
        line2: None,
        postal_code: Some("12209".into()),
        city,
        region: None,
        country,
        is_default: false,
    }
}

fn address_set(command: SetCustomerAddress, is_default: bool) -> Event {
    let SetCustomerAddress {
        customer_id,
        address_id,
        recipient,
        line1,
        line2,
        postal_code,
        city,
        region,
        country,
        is_default: _,
    } = command;
    CustomerAddressSet {
        customer_id,
        address_id,
        recipient,
        line1,
        line2,
        postal_code,
        city,
        region,
        country,
        is_default,
    }
    .into()
}

fn remove_address(address_id: &str) -> RemoveCustomerAddress {
    RemoveCustomerAddress { customer_id: "ALFKI".into(), address_id: address_id.into() }
}

fn address_removed(address_id: &str) -> Event {
    CustomerAddressRemoved { customer_id: "ALFKI".into(), address_id: address_id.into() }.into()
}

fn born(birth_date: Option<&str>) -> SetCustomerBirthDate {
    let [customer_id, reason] = ["ALFKI", "age check"].map(str::to_owned);
    SetCustomerBirthDate { customer_id, birth_date: birth_date.map(str::to_owned), reason }
}

fn birth_date_set(birth_date: Option<&str>) -> Event {
    let SetCustomerBirthDate { customer_id, birth_date, reason } = born(birth_date);
    CustomerBirthDateSet { customer_id, birth_date, reason }.into()
}

#[test]
fn the_first_address_is_the_default_until_another_one_is_to_be() {
    given::<Customers>([registered()]).when(address("home")).then([address_set(address("home"), true)]);
    let past = || given::<Customers>([registered(), address_set(address("home"), true)]);
    past().when(address("office")).then([address_set(address("office"), false)]);
    let chosen = SetCustomerAddress { is_default: true, ..address("office") };
    past().when(chosen).then([address_set(address("office"), true)]);
    past().when(address("home")).then([]);
    let moved = SetCustomerAddress { city: "Bonn".into(), ..address("home") };
    past().when(moved.clone()).then([address_set(moved, true)]);
}

#[test]
fn the_default_address_is_removed_last() {
    let both = [address_set(address("home"), true), address_set(address("office"), false)];
    let past = || given::<Customers>(std::iter::once(registered()).chain(both.clone()));
    past().when(remove_address("home")).then_rejected("address-is-default");
    past().when(remove_address("office")).then([address_removed("office")]);
    past().when(remove_address("moon")).then([]);
    let alone = given::<Customers>([registered(), address_set(address("home"), true)]);
    alone.when(remove_address("home")).then([address_removed("home")]);
    let none = [registered(), address_set(address("home"), true), address_removed("home")];
    let state = none.iter().fold(None, Customers::evolve).expect("a customer");
    assert_eq!(state.addresses, Addresses::default());
}

#[test]
fn a_malformed_address_is_rejected() {
    let refused = |command: SetCustomerAddress, code: &str| {
        given::<Customers>([registered()]).when(command).then_rejected(code);
    };
    refused(SetCustomerAddress { address_id: String::new(), ..address("a") }, "id-invalid");
    refused(SetCustomerAddress { line1: " ".into(), ..address("a") }, "address-line-invalid");
    refused(SetCustomerAddress { line2: Some("\0".into()), ..address("a") }, "address-line-invalid");
    refused(SetCustomerAddress { country: "Germany".into(), ..address("a") }, "country-code-invalid");
    refused(SetCustomerAddress { country: "de".into(), ..address("a") }, "country-code-invalid");
    refused(SetCustomerAddress { country: "XX".into(), ..address("a") }, "country-code-invalid");
}

#[test]
fn a_postal_code_is_as_its_country_writes_it() {
    let of = |country: &str, code: Option<&str>| {
        let (country, postal_code) = (country.to_owned(), code.map(str::to_owned));
        let command = SetCustomerAddress { country, postal_code, ..address("a") };
        given::<Customers>([registered()]).when(command).outcome.map(drop).map_err(|refused| refused.code)
    };
    for (country, code) in
        [("DE", "12209"), ("GB", "WA1 1DP"), ("US", "97403-1234"), ("CA", "K1A 0B1"), ("SE", "958 22")]
    {
        assert_eq!(of(country, Some(code)), Ok(()), "{country} {code}");
    }
    for (country, code) in
        [("DE", "1220"), ("DE", "122090"), ("US", "WA1 1DP"), ("GB", "12209"), ("DE", "١٢٢٠٩")]
    {
        assert_eq!(of(country, Some(code)), Err("postal-code-invalid"), "{country} {code}");
    }
    assert_eq!(of("DE", None), Err("postal-code-invalid"));
    assert_eq!((of("AE", None), of("AE", Some("123"))), (Ok(()), Ok(())), "it has none, as far as is known");
    assert_eq!(of("AE", Some("")), Err("postal-code-invalid"));
}

#[test]
fn a_customer_has_at_most_20_addresses() {
    let addresses = (0..20).map(|n| address_set(address(&n.to_string()), n == 0));
    let past = || given::<Customers>(std::iter::once(registered()).chain(addresses.clone()));
    past().when(address("20")).then_rejected("addresses-too-many");
    let moved = SetCustomerAddress { city: "Bonn".into(), ..address("19") };
    past().when(moved.clone()).then([address_set(moved, false)]);
}

#[test]
fn a_date_of_birth_is_set_and_removed_with_a_reason() {
    given::<Customers>([registered()])
        .when(born(Some("1985-02-28")))
        .then([birth_date_set(Some("1985-02-28"))]);
    let past = || given::<Customers>([registered(), birth_date_set(Some("1985-02-28"))]);
    past().when(born(Some("1985-02-28"))).then([]);
    past().when(born(None)).then([birth_date_set(None)]);
    for malformed in [
        "",
        "1985-02-29",
        "1985-2-28",
        "28.02.1985",
        "1899-12-31",
        "+1985-02-8",
        "+10000-01-01",
        "10000-01-01",
    ] {
        past().when(born(Some(malformed))).then_rejected("birth-date-invalid");
    }
    let unexplained = SetCustomerBirthDate { reason: " ".into(), ..born(None) };
    past().when(unexplained).then_rejected("reason-invalid");
}

#[test]
fn nothing_is_said_of_an_unknown_customer() {
    given::<Customers>([]).when(address("home")).then_rejected("customer-unknown");
    given::<Customers>([]).when(remove_address("home")).then_rejected("customer-unknown");
    given::<Customers>([]).when(born(None)).then_rejected("customer-unknown");
    given::<Customers>([]).when(tag("vip")).then_rejected("customer-unknown");
    given::<Customers>([]).when(untag("vip")).then_rejected("customer-unknown");
    given::<Customers>([]).when(prefer("language", None)).then_rejected("customer-unknown");
    given::<Customers>([]).when(assess(1, 0)).then_rejected("customer-unknown");
    assert_eq!(Customers::evolve(None, &tagged("vip")), None);
}

#[test]
fn new_details_leave_tags_preferences_and_risk_as_they_are() {
    let to_bonn = ChangeCustomerDetails { city: Some("Bonn".into()), ..change() };
    let events = [registered(), tagged("vip"), preferred("language", Some("de")), assessed(70, 5)];
    let before = events.iter().fold(None, Customers::evolve).expect("a customer");
    let after = Customers::evolve(Some(before.clone()), &changed(&to_bonn)).expect("a customer");
    assert_eq!(after, Customer { details: Details::from(&to_bonn), ..before });
}

prop_compose! {
    fn any_registration()(
        customer_id in prop_oneof![4 => "[ab]", 1 => any::<String>()],
        name: String,
        [contact_name, email, phone, city, country] in any::<[Option<String>; 5]>(),
    ) -> RegisterCustomer {
        RegisterCustomer { customer_id, name, contact_name, email, phone, city, country }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab]", 1 => any::<String>()]
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_registration().prop_map(Command::from),
        any_registration().prop_map(|command| {
            let RegisterCustomer { customer_id, name, contact_name, email, phone, city, country } = command;
            ChangeCustomerDetails { customer_id, name, contact_name, email, phone, city, country }.into()
        }),
        any_text().prop_map(|text| tag(&text).into()),
        any_text().prop_map(|text| untag(&text).into()),
        (any_text(), any::<Option<String>>())
            .prop_map(|(name, value)| prefer(&name, value.as_deref()).into()),
        (any::<i8>(), 0..9_i64).prop_map(|(score, micros)| assess(score.into(), micros).into()),
        ("[a-c]", any::<bool>()).prop_map(|(id, is_default)| SetCustomerAddress {
            is_default,
            ..address(&id)
        }
        .into()),
        "[a-c]".prop_map(|id| remove_address(&id).into()),
        prop::option::of("\\+?[0-9]{4,5}-[01][0-9]-[0-3][0-9]").prop_map(|date| born(date.as_deref()).into()),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_makes_a_customer_that_breaks_the_rules(
        commands in prop::collection::vec(any_command(), 0..20),
    ) {
        for state in given::<Customers>([registered()]).after(commands).states().values() {
            prop_assert_eq!(state.details.check(), Ok(()));
            prop_assert!(state.tags.iter().all(|tag| tags::check(tag).is_ok()) && state.tags.len() <= TAGS_MAX);
            prop_assert!(state.preferences.len() <= PREFERENCES_MAX);
            prop_assert!(state.risk.is_none_or(|risk| (0..=100).contains(&risk.score)));
            let Addresses { by_id, default } = &state.addresses;
            prop_assert!(by_id.len() <= ADDRESSES_MAX && default.is_none() == by_id.is_empty());
            prop_assert!(default.iter().all(|id| by_id.contains_key(id)));
            prop_assert!(state.birth_date.iter().all(|date| date.len() == "1985-02-28".len()));
        }
    }
}
