//! The rule tree.

/// Whom a segment takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every one of these holds; there is at least one.
    All(Vec<Rule>),
    /// At least one of these holds.
    Any(Vec<Rule>),
    /// This does not hold.
    Not(Box<Rule>),
    /// A fact of the customer is like this.
    Fact(Fact),
}

/// A fact of the customer, and what it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// What orders that were not cancelled are worth, in minor units of a currency; missing without an order in it.
    Spend {
        /// ISO 4217 code.
        currency: String,
        /// How it is compared.
        is: Compare,
        /// With what.
        value: i64,
    },
    /// Orders that were not cancelled; never missing.
    Orders {
        /// How they are compared.
        is: Compare,
        /// With what.
        value: i64,
    },
    /// Whole days since the newest order, cancelled or not; missing without one.
    DaysSinceLastOrder {
        /// How they are compared.
        is: Compare,
        /// With what.
        value: i64,
    },
    /// The country, as the upstream system spells it; missing until it is known.
    Country(Country),
    /// The customer has this tag.
    Tag(String),
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// How a country is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Country {
    /// `=`
    Is(String),
    /// `!=`: another one. A country that is missing is not another one.
    IsNot(String),
    /// `in`
    In(Vec<String>),
}
