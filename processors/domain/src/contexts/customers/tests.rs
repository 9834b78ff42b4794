//! Customers: what is accepted and what is not.

use proptest::prelude::*;

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
    details!(register()).registered("ALFKI").into()
}

fn changed(command: &ChangeCustomerDetails) -> Event {
    details!(command).changed("ALFKI").into()
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
    let happens = details!(command).registered("ALFKI");
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
    let face = CustomerFace { name, email, country: Some("Germany".into()) };
    assert_eq!(Customers::face(&state), face);
}

#[test]
fn a_change_before_the_registration_cannot_be_and_leaves_nothing() {
    assert_eq!(Customers::evolve(None, &changed(&change())), None);
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

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_registration().prop_map(Command::from),
        any_registration().prop_map(|command| {
            let RegisterCustomer { customer_id, name, contact_name, email, phone, city, country } = command;
            ChangeCustomerDetails { customer_id, name, contact_name, email, phone, city, country }.into()
        }),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics(commands in prop::collection::vec(any_command(), 0..20)) {
        for state in given::<Customers>([registered()]).after(commands).states().values() {
            prop_assert_eq!(state.check(), Ok(()));
        }
    }
}
