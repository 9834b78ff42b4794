//! Products: what the catalog says and what is in stock.

use millrace_schemas::Event;
use millrace_schemas::catalog::{Event as Catalog, ProductAdded};
use millrace_schemas::inventory::Event as Inventory;
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
    /// List price in minor units.
    pub price: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Whether it was taken out of sale.
    pub discontinued: bool,
    /// Units in the warehouse, reserved or not.
    pub on_hand: i64,
    /// Units promised.
    pub reserved: i64,
    /// Units that can still be reserved.
    pub available: i64,
}

impl View for ProductView {
    const NAME: &'static str = "products";
    const CONTEXTS: &'static [&'static str] = &["catalog", "inventory"];
    const KEY: &'static str = "product_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("products.sql");
    const SQL_VIEW: &'static str = include_str!("products.view.sql");
    const CHECK: &'static str = include_str!("products.check.sql");
    const MAPPING: Option<&'static str> =
        Some(include_str!("../../../../connectors/elasticsearch/products.json"));
    type Row = ProductRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Catalog(_) | Event::Inventory(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: ProductRow, key: &str, recorded: &Recorded) -> ProductRow {
        let row = ProductRow { product_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Catalog(event) => row.offered(event),
            Event::Inventory(event) => row.stocked(event),
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
        }
    }

    fn added(self, event: ProductAdded) -> Self {
        let ProductAdded { product_id: _, name, category, price, currency } = event;
        let (name, category) = (Some(name), Some(category));
        Self { name, category, price: Some(price), currency: Some(currency), ..self }
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
}

#[cfg(test)]
mod tests {
    use millrace_schemas::catalog::{
        PriceChanged, ProductDiscontinued, ProductRecategorised, ProductRenamed,
    };
    use millrace_schemas::inventory::{
        StockAdjusted, StockReceived, StockReleased, StockReserved, StockReturned, StockShipped,
    };

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};

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
        }
    }

    #[test]
    fn catalog_and_stock_meet_in_one_row_whatever_comes_first() {
        let rows = assert_same_rows_in_any_order::<ProductView>(&[offered(), stocked()]);
        assert_eq!(rows.into_values().collect::<Vec<_>>(), [row()]);
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
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&row());
        assert_survives_storage(&ProductRow::default());
    }
}
