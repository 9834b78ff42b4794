//! Catalog: what is sold, in which category and for how much.

use millrace_schemas::Message;
use millrace_schemas::catalog::{
    AddProduct, ChangePrice, Command, DescribeProduct, DiscontinueProduct, Event, PriceChanged, ProductAdded,
    ProductDescribed, ProductDiscontinued, ProductRecategorised, ProductRelisted, ProductRenamed,
    RecategoriseProduct, RelistProduct, RenameProduct,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Text};
use crate::{Context, Emitted, References, Refusal, Rejection, Streams, emit};

pub(crate) mod refusals;
#[cfg(test)]
mod tests;

const NAME: Text = Text::new("name", rules::refusals::NAME_INVALID, 1, 200);
const CATEGORY: Text = Text::new("category", refusals::CATEGORY_INVALID, 1, 200);
const DESCRIPTION: Text = Text::new("description", rules::refusals::TEXT_INVALID, 1, 5_000).of_lines();
const UNIT: Text = Text::new("unit", refusals::UNIT_INVALID, 1, 100);
const BRAND: Text = Text::new("brand", refusals::BRAND_INVALID, 1, 200);
const IMAGE: Text = Text::new("image", refusals::IMAGE_INVALID, 1, 2_000);

/// The context of the catalog; a stream is one product.
#[derive(Debug)]
pub struct Catalog;

/// A product as it is offered. Its description decides nothing, so that no state carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Product name.
    pub name: String,
    /// Category name.
    pub category: String,
    /// List price in minor units.
    pub price: i64,
    /// The currency of the price, for good.
    pub currency: String,
    /// Whether it is out of sale.
    pub discontinued: bool,
}

/// The public state: what other contexts can read of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductPublic {
    /// Product name.
    pub name: String,
    /// Category name.
    pub category: String,
    /// List price in minor units; it may change at any moment.
    pub price: i64,
    /// The currency of the list price, for good.
    pub currency: String,
    /// Whether it is out of sale; it may come back at any moment.
    pub discontinued: bool,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Catalog {
    const NAME: &'static str = "catalog";
    // Not raised for `ProductRelisted`: no stored state has seen one that did not fold it.
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Product;
    type Command = Command;
    type Event = Event;
    type Public = ProductPublic;

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn decide(streams: &Streams<Product>, _references: &References, command: &Command) -> Decision {
        let product = streams.get(command.key());
        match command {
            Command::AddProduct(command) => add(product, command),
            Command::RenameProduct(command) => rename(on_sale(product, &command.product_id)?, command),
            Command::ChangePrice(command) => change_price(on_sale(product, &command.product_id)?, command),
            Command::RecategoriseProduct(command) => {
                recategorise(product.ok_or_else(|| unknown(&command.product_id))?, command)
            }
            Command::DiscontinueProduct(command) => {
                discontinue(on_sale(product, &command.product_id)?, command)
            }
            Command::DescribeProduct(command) => describe(on_sale(product, &command.product_id)?, command),
            Command::RelistProduct(command) => relist(product, command),
        }
    }

    fn evolve(state: Option<Product>, event: &Event) -> Option<Product> {
        match event {
            Event::ProductAdded(event) => state.or_else(|| Some(Product::added(event))),
            Event::ProductRenamed(event) => state.map(|p| Product { name: event.name.clone(), ..p }),
            Event::PriceChanged(event) => state.map(|p| Product { price: event.price, ..p }),
            Event::ProductRecategorised(event) => {
                state.map(|p| Product { category: event.category.clone(), ..p })
            }
            Event::ProductDiscontinued(_) => state.map(|p| Product { discontinued: true, ..p }),
            Event::ProductRelisted(_) => state.map(|p| Product { discontinued: false, ..p }),
            Event::ProductDescribed(_) => state,
        }
    }

    fn public(state: &Product) -> ProductPublic {
        let Product { name, category, price, currency, discontinued } = state.clone();
        ProductPublic { name, category, price, currency, discontinued }
    }
}

impl Product {
    fn added(event: &ProductAdded) -> Self {
        let ProductAdded { product_id: _, name, category, price, currency } = event.clone();
        Self { name, category, price, currency, discontinued: false }
    }
}

fn add(known: Option<&Product>, command: &AddProduct) -> Decision {
    let AddProduct { product_id, name, category, price, currency } = command.clone();
    rules::id("product_id", &product_id)?;
    NAME.check(&name)?;
    CATEGORY.check(&category)?;
    rules::price("price", price)?;
    rules::currency(&currency)?;
    match known {
        None => Ok(vec![emit(ProductAdded { product_id, name, category, price, currency })]),
        Some(_) => Err(exists(&product_id)),
    }
}

fn rename(on_sale: &Product, command: &RenameProduct) -> Decision {
    let RenameProduct { product_id, name } = command.clone();
    NAME.check(&name)?;
    happens_unless(on_sale.name == name, ProductRenamed { product_id, name })
}

fn change_price(on_sale: &Product, command: &ChangePrice) -> Decision {
    let ChangePrice { product_id, price } = command.clone();
    rules::price("price", price)?;
    happens_unless(on_sale.price == price, PriceChanged { product_id, price })
}

/// Also while it is out of sale: a category that gets another name keeps none behind.
fn recategorise(product: &Product, command: &RecategoriseProduct) -> Decision {
    let RecategoriseProduct { product_id, category } = command.clone();
    CATEGORY.check(&category)?;
    happens_unless(product.category == category, ProductRecategorised { product_id, category })
}

fn discontinue(_on_sale: &Product, command: &DiscontinueProduct) -> Decision {
    Ok(vec![emit(ProductDiscontinued { product_id: command.product_id.clone() })])
}

fn describe(_on_sale: &Product, command: &DescribeProduct) -> Decision {
    let DescribeProduct { product_id, description, unit, brand, image } = command.clone();
    DESCRIPTION.check_given(description.as_deref())?;
    UNIT.check_given(unit.as_deref())?;
    BRAND.check_given(brand.as_deref())?;
    IMAGE.check_given(image.as_deref())?;
    Ok(vec![emit(ProductDescribed { product_id, description, unit, brand, image })])
}

fn relist(product: Option<&Product>, command: &RelistProduct) -> Decision {
    let product_id = command.product_id.clone();
    let Product { discontinued, .. } = product.ok_or_else(|| unknown(&product_id))?;
    happens_unless(!discontinued, ProductRelisted { product_id })
}

/// A change that changes nothing is accepted without an event.
fn happens_unless(already_so: bool, event: impl Into<Event>) -> Decision {
    Ok(if already_so { Vec::new() } else { vec![emit(event)] })
}

/// A product that can change: one out of sale can only come back, or move to another category.
fn on_sale<'a>(product: Option<&'a Product>, product_id: &str) -> Result<&'a Product, Rejection> {
    match product {
        None => Err(unknown(product_id)),
        Some(product) if product.discontinued => Err(discontinued(product_id)),
        Some(product) => Ok(product),
    }
}

fn exists(product_id: &str) -> Rejection {
    let id = rules::quoted(product_id);
    let way_out = "send RenameProduct, ChangePrice or RecategoriseProduct, or take another id";
    refusals::PRODUCT_EXISTS.because(format!("product_id {id} is already in the catalog: {way_out}"))
}

fn unknown(product_id: &str) -> Rejection {
    let id = rules::quoted(product_id);
    let way_out = "send AddProduct, or correct the id";
    refusals::PRODUCT_UNKNOWN.because(format!("product_id {id} is not in the catalog: {way_out}"))
}

fn discontinued(product_id: &str) -> Rejection {
    let id = rules::quoted(product_id);
    let way_out = "send RelistProduct first, or add a new product with another id";
    refusals::PRODUCT_DISCONTINUED.because(format!("product_id {id} was discontinued: {way_out}"))
}
