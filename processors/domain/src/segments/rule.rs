//! The rule tree.

/// A rule of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every one of these holds; there is at least one.
    All(Vec<Rule>),
    /// At least one of these holds.
    Any(Vec<Rule>),
    /// This does not hold.
    Not(Box<Rule>),
    /// A comparison with a fact about the customer.
    Fact(Fact),
}

/// A fact about the customer, and its comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The total of orders that were not cancelled, in minor units of a currency; missing without an order in it.
    Spend {
        /// ISO 4217 code.
        currency: String,
        /// The comparison.
        is: Compare,
        /// The value.
        value: i64,
    },
    /// Orders that were not cancelled; never missing.
    Orders {
        /// The comparison.
        is: Compare,
        /// The value.
        value: i64,
    },
    /// Whole days since the newest order, cancelled or not; missing without one.
    DaysSinceLastOrder {
        /// The comparison.
        is: Compare,
        /// The value.
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
    /// `!=`: another country. A missing country does not match.
    IsNot(String),
    /// `in`
    In(Vec<String>),
}
