//! Products: what the catalog says, what is in stock and what customers think.

use millrace_schemas::Event;
use millrace_schemas::catalog::{Event as Catalog, ProductAdded, ProductDescribed};
use millrace_schemas::inventory::Event as Inventory;
use millrace_schemas::reviews::Event as Reviews;
use serde::{Deserialize, Serialize};

use crate::{Recorded, View};

/// The view of products.
#[derive(Debug)]
pub struct ProductView;

/// One product. What only the catalog says is missing until it has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRow {
    /// The product.
    pub product_id: String,
    /// Product name.
    pub name: Option<String>,
    /// Category name.
    pub category: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// What one unit is.
    pub unit: Option<String>,
    /// Brand.
    pub brand: Option<String>,
    /// Where an image of it is.
    pub image: Option<String>,
    /// List price in minor units.
    pub price: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Whether it is out of sale.
    pub discontinued: bool,
    /// Units in the warehouse, reserved or not.
    pub on_hand: i64,
    /// Reserved units.
    pub reserved: i64,
    /// Units that can still be reserved.
    pub available: i64,
    /// Reviews that were written and not withdrawn.
    pub reviews: i64,
    /// Those with a rating of 1.
    pub one_star: i64,
    /// Those with a rating of 2.
    pub two_stars: i64,
    /// Those with a rating of 3.
    pub three_stars: i64,
    /// Those with a rating of 4.
    pub four_stars: i64,
    /// Those with a rating of 5.
    pub five_stars: i64,
    /// Their average in hundredths, rounded half up; none without reviews.
    pub rating_hundredths: Option<i64>,
}

impl View for ProductView {
    const NAME: &'static str = "products";
    const CONTEXTS: &'static [&'static str] = &["catalog", "inventory", "reviews"];
    const KEY: &'static str = "product_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const SEARCH: &'static [&'static str] = &["name", "category", "brand", "description"];
    const FOLD: u32 = 3;
    type Row = ProductRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Catalog(_) | Event::Inventory(_) => vec![recorded.stream.clone()],
            Event::Reviews(event) => vec![of_review(event).to_owned()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: ProductRow, key: &str, recorded: &Recorded) -> ProductRow {
        let row = ProductRow { product_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Catalog(event) => row.offered(event),
            Event::Inventory(event) => row.stocked(event),
            Event::Reviews(event) => row.reviewed(event).averaged(),
            _ => row,
        }
    }
}

impl ProductRow {
    fn offered(self, event: &Catalog) -> Self {
        match event {
            Catalog::ProductAdded(event) => self.added(event.clone()),
            Catalog::ProductRenamed(event) => Self { name: Some(event.name.clone()), ..self },
            Catalog::PriceChanged(event) => Self { price: Some(event.price), ..self },
            Catalog::ProductRecategorised(event) => Self { category: Some(event.category.clone()), ..self },
            Catalog::ProductDiscontinued(_) => Self { discontinued: true, ..self },
            Catalog::ProductRelisted(_) => Self { discontinued: false, ..self },
            Catalog::ProductDescribed(event) => self.described(event.clone()),
        }
    }

    fn added(self, event: ProductAdded) -> Self {
        let ProductAdded { product_id: _, name, category, price, currency } = event;
        let (name, category) = (Some(name), Some(category));
        Self { name, category, price: Some(price), currency: Some(currency), ..self }
    }

    fn described(self, event: ProductDescribed) -> Self {
        let ProductDescribed { product_id: _, description, unit, brand, image } = event;
        Self { description, unit, brand, image, ..self }
    }

    fn stocked(self, event: &Inventory) -> Self {
        match event {
            Inventory::StockAdjusted(event) => self.moved(event.difference, 0),
            Inventory::StockReceived(event) => self.moved(event.quantity, 0),
            Inventory::StockReturned(event) => self.moved(event.quantity, 0),
            Inventory::StockReserved(event) => self.moved(0, event.quantity),
            Inventory::StockReleased(event) => self.moved(0, event.quantity.wrapping_neg()),
            Inventory::StockShipped(event) => {
                self.moved(event.quantity.wrapping_neg(), event.quantity.wrapping_neg())
            }
        }
    }

    /// The context has checked the sums; wrapping only keeps this total.
    fn moved(self, on_hand: i64, reserved: i64) -> Self {
        let on_hand = self.on_hand.wrapping_add(on_hand);
        let reserved = self.reserved.wrapping_add(reserved);
        Self { on_hand, reserved, available: on_hand.wrapping_sub(reserved), ..self }
    }

    fn reviewed(self, event: &Reviews) -> Self {
        match event {
            Reviews::ReviewWritten(event) => self.rated(event.rating, 1),
            Reviews::ReviewEdited(event) => self.rated(event.previous_rating, -1).rated(event.rating, 1),
            Reviews::ReviewWithdrawn(event) => self.rated(event.previous_rating, -1),
        }
    }

    fn rated(mut self, rating: i32, reviews: i64) -> Self {
        let stars = match rating {
            1 => &mut self.one_star,
            2 => &mut self.two_stars,
            3 => &mut self.three_stars,
            4 => &mut self.four_stars,
            5 => &mut self.five_stars,
            // The context lets no other rating through.
            _ => return self,
        };
        *stars = stars.wrapping_add(reviews);
        Self { reviews: self.reviews.wrapping_add(reviews), ..self }
    }

    fn averaged(self) -> Self {
        Self { rating_hundredths: self.average(), ..self }
    }

    /// In whole hundredths, so that no rounding depends on the order of reviews.
    fn average(&self) -> Option<i64> {
        let stars = [self.one_star, self.two_stars, self.three_stars, self.four_stars, self.five_stars];
        let sum = stars
            .iter()
            .zip(1..)
            .try_fold(0_i64, |sum, (count, rating)| sum.checked_add(count.checked_mul(rating)?))?;
        sum.checked_mul(100)?.checked_add(self.reviews / 2)?.checked_div(self.reviews)
    }
}

fn of_review(event: &Reviews) -> &str {
    match event {
        Reviews::ReviewWritten(event) => &event.product_id,
        Reviews::ReviewEdited(event) => &event.product_id,
        Reviews::ReviewWithdrawn(event) => &event.product_id,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::catalog::{
        PriceChanged, ProductDiscontinued, ProductRecategorised, ProductRelisted, ProductRenamed,
    };
    use millrace_schemas::inventory::{
        StockAdjusted, StockReceived, StockReleased, StockReserved, StockReturned, StockShipped,
    };

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view, recorded};
    use crate::views::tests::{review_edited, review_withdrawn, review_written};

    fn catalog(event: impl Into<Catalog>) -> Event {
        Event::Catalog(event.into())
    }

    fn inventory(event: impl Into<Inventory>) -> Event {
        Event::Inventory(event.into())
    }

    fn chai() -> String {
        "1".to_owned()
    }

    fn offered() -> Vec<Event> {
        let [name, category, currency] = ["Chai", "Beverages", "USD"].map(str::to_owned);
        vec![
            catalog(ProductAdded { product_id: chai(), name, category, price: 1_800, currency }),
            catalog(ProductRenamed { product_id: chai(), name: "Chai tea".into() }),
            catalog(PriceChanged { product_id: chai(), price: 1_900 }),
            catalog(ProductRecategorised { product_id: chai(), category: "Teas".into() }),
            catalog(ProductDiscontinued { product_id: chai() }),
        ]
    }

    fn stocked() -> Vec<Event> {
        let (reservation_id, other) = ("r1".to_owned(), "r2".to_owned());
        vec![
            inventory(StockReceived { product_id: chai(), quantity: 40 }),
            inventory(StockReserved {
                product_id: chai(),
                reservation_id: reservation_id.clone(),
                quantity: 5,
            }),
            inventory(StockReserved { product_id: chai(), reservation_id: other.clone(), quantity: 7 }),
            inventory(StockShipped {
                product_id: chai(),
                reservation_id: reservation_id.clone(),
                quantity: 5,
            }),
            inventory(StockAdjusted { product_id: chai(), difference: -1, reason: "broken".into() }),
            inventory(StockReleased { product_id: chai(), reservation_id: other, quantity: 3 }),
            inventory(StockReturned { product_id: chai(), reservation_id, quantity: 2 }),
        ]
    }

    fn row() -> ProductRow {
        ProductRow {
            product_id: chai(),
            name: Some("Chai tea".into()),
            category: Some("Teas".into()),
            price: Some(1_900),
            currency: Some("USD".into()),
            discontinued: true,
            on_hand: 36,
            reserved: 4,
            available: 32,
            ..ProductRow::default()
        }
    }

    fn only_row(streams: &[Vec<Event>]) -> ProductRow {
        let rows = assert_same_rows_in_any_order::<ProductView>(streams);
        assert_eq!(rows.len(), 1);
        rows.into_values().next().expect("one row")
    }

    fn stars(row: &ProductRow) -> [i64; 5] {
        [row.one_star, row.two_stars, row.three_stars, row.four_stars, row.five_stars]
    }

    #[test]
    fn catalog_and_stock_meet_in_one_row_whatever_comes_first() {
        let rows = assert_same_rows_in_any_order::<ProductView>(&[offered(), stocked()]);
        assert_eq!(rows.into_values().collect::<Vec<_>>(), [row()]);
    }

    #[test]
    fn a_description_is_replaced_as_a_whole_and_a_relisted_product_is_on_sale() {
        let text = |text: &str| Some(text.to_owned());
        let described = |description, unit, brand, image| {
            catalog(ProductDescribed { product_id: chai(), description, unit, brand, image })
        };
        let tea = described(text("Black tea"), text("10 boxes"), text("Exotic"), text("1.jpg"));
        let relisted = catalog(ProductRelisted { product_id: chai() });
        let row = only_row(&[[offered(), vec![relisted, tea]].concat()]);
        assert_eq!((row.unit, row.image, row.discontinued), (text("10 boxes"), text("1.jpg"), false));
        let less = described(text("Tea"), None, text("Millrace"), None);
        let row = only_row(&[[offered(), vec![less]].concat()]);
        assert_eq!((row.description, row.brand), (text("Tea"), text("Millrace")));
        assert_eq!((row.unit, row.image, row.discontinued), (None, None, true));
    }

    #[test]
    fn stock_without_a_catalog_entry_has_no_name_yet() {
        let rows = fold_view::<ProductView>(&stocked());
        let expected = ProductRow {
            product_id: chai(),
            on_hand: 36,
            reserved: 4,
            available: 32,
            ..ProductRow::default()
        };
        assert_eq!(rows.get("1"), Some(&expected));
    }

    #[test]
    fn reviews_are_counted_by_their_stars_in_any_order() {
        let row = only_row(&[
            offered(),
            vec![review_written("1", "ana", 5)],
            vec![review_written("1", "bo", 4), review_edited("1", "bo", 4, 1)],
            vec![review_written("1", "cy", 3), review_withdrawn("1", "cy", 3), review_written("1", "cy", 2)],
        ]);
        assert_eq!((stars(&row), row.reviews), ([1, 1, 0, 0, 1], 3));
        assert_eq!((row.rating_hundredths, row.name.as_deref()), (Some(267), Some("Chai tea")));
    }

    #[test]
    fn an_average_is_rounded_half_up_and_missing_without_reviews() {
        let average = |ratings: &[i32]| {
            let reviews = ratings.iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"]);
            let events: Vec<Event> =
                reviews.map(|(rating, customer)| review_written("1", customer, *rating)).collect();
            fold_view::<ProductView>(&events).remove("1").and_then(|row| row.rating_hundredths)
        };
        assert_eq!(average(&[4, 5]), Some(450));
        assert_eq!(average(&[1, 1, 1, 1, 1, 1, 1, 2]), Some(113), "1.125");
        assert_eq!(average(&[1, 1, 2]), Some(133));
        assert_eq!(
            only_row(&[vec![review_written("1", "a", 5), review_withdrawn("1", "a", 5)]]).rating_hundredths,
            None
        );
    }

    #[test]
    fn a_review_touches_the_row_of_its_product() {
        assert_eq!(ProductView::keys(&recorded(&review_written("1", "ana", 5), 1)), ["1"]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&only_row(&[vec![review_written("1", "ana", 5)]]));
        assert_survives_storage(&row());
        assert_survives_storage(&ProductRow::default());
    }
}
