//! Catalog: which commands are accepted and which are refused.

use proptest::prelude::*;

use super::*;
use crate::rules::TOTAL_MAX;
use crate::testing::given;

fn add() -> AddProduct {
    AddProduct {
        product_id: "1".into(),
        name: "Chai".into(),
        category: "Beverages".into(),
        price: 1_800,
        currency: "USD".into(),
    }
}

fn added() -> Event {
    let AddProduct { product_id, name, category, price, currency } = add();
    ProductAdded { product_id, name, category, price, currency }.into()
}

fn discontinued() -> Event {
    ProductDiscontinued { product_id: "1".into() }.into()
}

fn rename(name: &str) -> RenameProduct {
    RenameProduct { product_id: "1".into(), name: name.into() }
}

fn change_price(price: i64) -> ChangePrice {
    ChangePrice { product_id: "1".into(), price }
}

fn recategorise(category: &str) -> RecategoriseProduct {
    RecategoriseProduct { product_id: "1".into(), category: category.into() }
}

fn discontinue() -> DiscontinueProduct {
    DiscontinueProduct { product_id: "1".into() }
}

fn relist() -> RelistProduct {
    RelistProduct { product_id: "1".into() }
}

fn describe() -> DescribeProduct {
    let [description, unit, brand, image] =
        ["Black tea\nwith spices", "10 boxes x 20 bags", "Exotic Liquids", "products/1.jpg"]
            .map(String::from);
    DescribeProduct {
        product_id: "1".into(),
        description: Some(description),
        unit: Some(unit),
        brand: Some(brand),
        image: Some(image),
    }
}

fn undescribed() -> DescribeProduct {
    let product_id = "1".to_owned();
    DescribeProduct { product_id, description: None, unit: None, brand: None, image: None }
}

#[test]
fn a_product_is_added() {
    given::<Catalog>([]).when(add()).then([added()]);
}

#[test]
fn a_product_is_added_only_once() {
    given::<Catalog>([added()]).when(add()).then_rejected("product-exists");
    given::<Catalog>([added(), discontinued()]).when(add()).then_rejected("product-exists");
}

#[test]
fn a_product_may_be_free() {
    let command = AddProduct { price: 0, ..add() };
    assert!(given::<Catalog>([]).when(command).outcome.is_ok());
}

#[test]
fn a_product_with_an_invalid_field_is_rejected() {
    let refused = |command: AddProduct, code| given::<Catalog>([]).when(command).then_rejected(code);
    refused(AddProduct { product_id: String::new(), ..add() }, "id-invalid");
    refused(AddProduct { name: " ".into(), ..add() }, "name-invalid");
    refused(AddProduct { category: "x".repeat(201), ..add() }, "category-invalid");
    refused(AddProduct { price: -1, ..add() }, "price-negative");
    refused(AddProduct { price: TOTAL_MAX + 1, ..add() }, "price-too-large");
    refused(AddProduct { currency: "dollar".into(), ..add() }, "currency-invalid");
    refused(AddProduct { currency: "ZZZ".into(), ..add() }, "currency-invalid");
}

#[test]
fn a_product_is_renamed() {
    let event = ProductRenamed { product_id: "1".into(), name: "Chai tea".into() };
    given::<Catalog>([added()]).when(rename("Chai tea")).then([event.into()]);
    given::<Catalog>([added()]).when(rename("")).then_rejected("name-invalid");
}

#[test]
fn a_product_whose_currency_has_ended_goes_on() {
    let event = ProductAdded {
        product_id: "1".into(),
        name: "Chai".into(),
        category: "Beverages".into(),
        price: 1,
        currency: "DEM".into(),
    };
    let changed = PriceChanged { product_id: "1".into(), price: 5 };
    given::<Catalog>([event.into()]).when(change_price(5)).then([changed.into()]);
}

#[test]
fn a_price_is_changed_to_zero_or_more() {
    let event = |price| PriceChanged { product_id: "1".into(), price }.into();
    given::<Catalog>([added()]).when(change_price(0)).then([event(0)]);
    given::<Catalog>([added()]).when(change_price(TOTAL_MAX)).then([event(TOTAL_MAX)]);
    for price in [TOTAL_MAX + 1, i64::MAX] {
        given::<Catalog>([added()]).when(change_price(price)).then_rejected("price-too-large");
    }
    given::<Catalog>([added()]).when(change_price(-1)).then_rejected("price-negative");
}

#[test]
fn a_product_is_moved_to_another_category() {
    let event = ProductRecategorised { product_id: "1".into(), category: "Teas".into() };
    given::<Catalog>([added()]).when(recategorise("Teas")).then([event.into()]);
    given::<Catalog>([added()]).when(recategorise("\n")).then_rejected("category-invalid");
}

#[test]
fn a_change_to_what_already_is_so_is_accepted_and_nothing_happens() {
    given::<Catalog>([added()]).when(rename("Chai")).then([]);
    given::<Catalog>([added()]).when(change_price(1_800)).then([]);
    given::<Catalog>([added()]).when(recategorise("Beverages")).then([]);
}

#[test]
fn a_product_is_discontinued_once() {
    given::<Catalog>([added()]).when(discontinue()).then([discontinued()]);
    given::<Catalog>([added(), discontinued()]).when(discontinue()).then_rejected("product-discontinued");
}

#[test]
fn a_discontinued_product_only_moves_to_another_category() {
    let past = || given::<Catalog>([added(), discontinued()]);
    past().when(rename("Chai tea")).then_rejected("product-discontinued");
    past().when(change_price(1)).then_rejected("product-discontinued");
    let moved = ProductRecategorised { product_id: "1".into(), category: "Teas".into() };
    past().when(recategorise("Teas")).then([moved.into()]);
}

#[test]
fn a_discontinued_product_comes_back_on_sale_and_can_change_again() {
    let relisted = || ProductRelisted { product_id: "1".into() }.into();
    given::<Catalog>([added(), discontinued()]).when(relist()).then([relisted()]);
    given::<Catalog>([added()]).when(relist()).then([]);
    let past = || given::<Catalog>([added(), discontinued(), relisted()]);
    past().when(change_price(5)).then([PriceChanged { product_id: "1".into(), price: 5 }.into()]);
    past().when(discontinue()).then([discontinued()]);
}

#[test]
fn a_product_is_described_by_what_is_known_of_it() {
    let DescribeProduct { product_id, description, unit, brand, image } = describe();
    let described = ProductDescribed { product_id, description, unit, brand, image };
    given::<Catalog>([added()]).when(describe()).then([described.into()]);
    let product_id = "1".to_owned();
    let nothing = ProductDescribed { product_id, description: None, unit: None, brand: None, image: None };
    given::<Catalog>([added()]).when(undescribed()).then([nothing.into()]);
    given::<Catalog>([added(), discontinued()]).when(describe()).then_rejected("product-discontinued");
}

#[test]
fn a_description_with_an_invalid_field_is_rejected() {
    let refused =
        |command: DescribeProduct, code| given::<Catalog>([added()]).when(command).then_rejected(code);
    refused(DescribeProduct { description: Some("\u{7}".into()), ..describe() }, "text-invalid");
    refused(DescribeProduct { unit: Some(String::new()), ..describe() }, "unit-invalid");
    refused(DescribeProduct { brand: Some("x".repeat(201)), ..describe() }, "brand-invalid");
    refused(DescribeProduct { image: Some("a\nb".into()), ..describe() }, "image-invalid");
}

#[test]
fn an_unknown_product_cannot_change() {
    given::<Catalog>([]).when(relist()).then_rejected("product-unknown");
    given::<Catalog>([]).when(describe()).then_rejected("product-unknown");
    given::<Catalog>([]).when(rename("Chai tea")).then_rejected("product-unknown");
    given::<Catalog>([]).when(change_price(1)).then_rejected("product-unknown");
    given::<Catalog>([]).when(recategorise("Teas")).then_rejected("product-unknown");
    given::<Catalog>([]).when(discontinue()).then_rejected("product-unknown");
}

#[test]
fn others_see_the_newest_details_even_of_a_discontinued_product() {
    let events = [
        added(),
        ProductRenamed { product_id: "1".into(), name: "Chai tea".into() }.into(),
        ProductRecategorised { product_id: "1".into(), category: "Teas".into() }.into(),
        PriceChanged { product_id: "1".into(), price: 5 }.into(),
        discontinued(),
    ];
    let state = events.iter().fold(None, Catalog::evolve).expect("a product");
    let [name, category, currency] = ["Chai tea", "Teas", "USD"].map(str::to_owned);
    let public = ProductPublic { name, category, price: 5, currency, discontinued: true };
    assert_eq!(Catalog::public(&state), public);
}

prop_compose! {
    fn any_addition()(
        product_id in prop_oneof![4 => "[ab]", 1 => any::<String>()],
        name: String, category: String, price: i64,
        currency in prop_oneof![Just("USD".to_owned()), any::<String>()],
    ) -> AddProduct {
        AddProduct { product_id, name, category, price, currency }
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    (any_addition(), 0..7).prop_map(|(command, kind)| {
        let AddProduct { product_id, name, category, price, .. } = command.clone();
        match kind {
            0 => command.into(),
            1 => RenameProduct { product_id, name }.into(),
            2 => ChangePrice { product_id, price }.into(),
            3 => RecategoriseProduct { product_id, category }.into(),
            4 => RelistProduct { product_id }.into(),
            5 => DescribeProduct { product_id, brand: Some(name), ..undescribed() }.into(),
            _ => DiscontinueProduct { product_id }.into(),
        }
    })
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_makes_a_price_negative(
        commands in prop::collection::vec(any_command(), 0..20),
    ) {
        for product in given::<Catalog>([added()]).after(commands).states().values() {
            prop_assert!(product.price >= 0);
        }
    }
}
