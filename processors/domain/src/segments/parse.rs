//! Parses rules from JSON. Unknown fields and values are refused with their place, never ignored.

use std::fmt;

use serde_json::{Map, Value};

use super::{Compare, Country, Fact, Rule};
use crate::rules::{self, quoted};

/// Bytes of a rule tree's text, at most.
pub const RULES_BYTES_MAX: usize = 20_000;
/// Rules in a tree, at most.
const RULES_MAX: usize = 100;
/// Levels of nested rules, at most.
const DEPTH_MAX: usize = 8;
const COUNTRIES_MAX: usize = 100;
const TEXT_CHARACTERS_MAX: usize = 200;
/// Days of a comparison, at most: a century.
const DAYS_MAX: i64 = 36_500;

/// Why a text is not a rule tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{problem}")]
pub struct RuleError {
    place: String,
    problem: String,
}

impl RuleError {
    /// The place, such as `rules.all[2].is`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong there.
    pub fn problem(&self) -> &str {
        self.problem.trim_start()
    }
}

type Parsed<T> = Result<T, RuleError>;

/// Reads a rule tree.
///
/// # Errors
/// [`RuleError`]: the place, the problem, and how to correct it.
pub fn parse(text: &str) -> Parsed<Rule> {
    let top = Place::top();
    if text.len() > RULES_BYTES_MAX {
        return Err(top.error(format!("has {} bytes: send at most {RULES_BYTES_MAX}", text.len())));
    }
    let json: Value =
        serde_json::from_str(text).map_err(|error| top.error(format!("is no JSON: {error}")))?;
    Tree { left: RULES_MAX }.rule(&json, &top)
}

/// A place in the tree, such as `rules.all[2].is`.
struct Place {
    path: String,
    depth: usize,
}

impl Place {
    fn top() -> Self {
        Self { path: "rules".to_owned(), depth: 0 }
    }

    fn inner(&self, step: impl fmt::Display) -> Self {
        Self { path: format!("{}{step}", self.path), depth: self.depth + 1 }
    }

    fn field(&self, name: &str) -> Self {
        Self { path: format!("{}.{name}", self.path), depth: self.depth }
    }

    fn error(&self, problem: impl fmt::Display) -> RuleError {
        RuleError { place: self.path.clone(), problem: format!(" {problem}") }
    }

    fn misfit(&self, found: &Value, way_out: impl fmt::Display) -> RuleError {
        self.error(format!("is {}: send {way_out}", shown(found)))
    }
}

fn shown(found: &Value) -> String {
    found.as_str().map_or_else(|| quoted(&found.to_string()), quoted)
}

/// How many more rules the tree may have.
struct Tree {
    left: usize,
}

impl Tree {
    fn rule(&mut self, json: &Value, place: &Place) -> Parsed<Rule> {
        if place.depth >= DEPTH_MAX {
            return Err(place.error(format!("is too deep: nest at most {DEPTH_MAX} rules")));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            place.error(format!("is one too many: send at most {RULES_MAX} rules, or make several segments"))
        })?;
        let object = json.as_object().filter(|object| !object.is_empty());
        let object = object.ok_or_else(|| {
            place.misfit(json, r#"a rule such as {"fact": "orders", "is": ">=", "value": 1}"#)
        })?;
        self.of_kind(object, place)
    }

    fn of_kind(&mut self, object: &Map<String, Value>, place: &Place) -> Parsed<Rule> {
        if let Some(rules) = object.get("all") {
            only(object, &["all"], place)?;
            return self.several(rules, &place.inner(".all")).map(Rule::All);
        }
        if let Some(rules) = object.get("any") {
            only(object, &["any"], place)?;
            return self.several(rules, &place.inner(".any")).map(Rule::Any);
        }
        if let Some(rule) = object.get("not") {
            only(object, &["not"], place)?;
            return self.rule(rule, &place.inner(".not")).map(|rule| Rule::Not(Box::new(rule)));
        }
        fact(object, place).map(Rule::Fact)
    }

    fn several(&mut self, json: &Value, place: &Place) -> Parsed<Vec<Rule>> {
        let rules = json.as_array().filter(|rules| !rules.is_empty());
        let rules = rules.ok_or_else(|| place.misfit(json, "a list of one or more rules"))?;
        let item = |(index, rule)| {
            let item = Place { path: format!("{}[{index}]", place.path), depth: place.depth };
            self.rule(rule, &item)
        };
        rules.iter().enumerate().map(item).collect()
    }
}

/// Refuses fields that the rule does not have.
fn only(object: &Map<String, Value>, known: &[&str], place: &Place) -> Parsed<()> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(place.error(format!(
            "has the unknown field {}: send only {}",
            quoted(name),
            known.join(", ")
        ))),
    }
}

fn fact(object: &Map<String, Value>, place: &Place) -> Parsed<Fact> {
    const FACTS: &str = "all, any, not, or the fact spend, orders, days_since_last_order, country or tags";
    let named = object.get("fact").ok_or_else(|| place.error(format!("is no rule: send {FACTS}")))?;
    let known: &[&str] = match named.as_str() {
        Some("spend") => &["fact", "currency", "is", "value"],
        _ => &["fact", "is", "value"],
    };
    let value = |most| number(object, most, place);
    let fact = match named.as_str() {
        Some("spend") => {
            let (currency, is) = (currency(object, place)?, compare(object, place)?);
            Fact::Spend { currency, is, value: value(rules::TOTAL_MAX)? }
        }
        Some("orders") => Fact::Orders { is: compare(object, place)?, value: value(rules::QUANTITY_MAX)? },
        Some("days_since_last_order") => {
            Fact::DaysSinceLastOrder { is: compare(object, place)?, value: value(DAYS_MAX)? }
        }
        Some("country") => Fact::Country(country(object, place)?),
        Some("tags") => Fact::Tag(tag(object, place)?),
        _ => return Err(place.field("fact").misfit(named, FACTS)),
    };
    only(object, known, place).map(|()| fact)
}

fn given<'o>(object: &'o Map<String, Value>, name: &str, place: &Place) -> Parsed<&'o Value> {
    object.get(name).ok_or_else(|| place.field(name).error("is missing: send it"))
}

/// A currency, also a former one: money that was spent in it still counts.
fn currency(object: &Map<String, Value>, place: &Place) -> Parsed<String> {
    let found = given(object, "currency", place)?;
    let currency = found.as_str().filter(|currency| rules::is_like_a_currency(currency));
    let way_out = "an ISO 4217 code such as USD";
    Ok(currency.ok_or_else(|| place.field("currency").misfit(found, way_out))?.to_owned())
}

fn compare(object: &Map<String, Value>, place: &Place) -> Parsed<Compare> {
    let found = given(object, "is", place)?;
    Ok(match found.as_str() {
        Some("=") => Compare::Equal,
        Some("!=") => Compare::NotEqual,
        Some("<") => Compare::Less,
        Some("<=") => Compare::AtMost,
        Some(">") => Compare::Greater,
        Some(">=") => Compare::AtLeast,
        _ => return Err(place.field("is").misfit(found, "one of =, !=, <, <=, >, >=")),
    })
}

fn number(object: &Map<String, Value>, most: i64, place: &Place) -> Parsed<i64> {
    let found = given(object, "value", place)?;
    let number = found.as_i64().filter(|number| (0..=most).contains(number));
    number.ok_or_else(|| place.field("value").misfit(found, format_args!("a whole number, 0 to {most}")))
}

fn country(object: &Map<String, Value>, place: &Place) -> Parsed<Country> {
    let is = given(object, "is", place)?;
    let (value, at) = (given(object, "value", place)?, place.field("value"));
    match is.as_str() {
        Some("=") => text(value, &at).map(Country::Is),
        Some("!=") => text(value, &at).map(Country::IsNot),
        Some("in") => {
            let list = value.as_array().filter(|list| (1..=COUNTRIES_MAX).contains(&list.len()));
            let list = list
                .ok_or_else(|| at.misfit(value, format_args!("a list of 1 to {COUNTRIES_MAX} countries")))?;
            list.iter().map(|one| text(one, &at)).collect::<Parsed<_>>().map(Country::In)
        }
        _ => Err(place.field("is").misfit(is, "one of =, !=, in")),
    }
}

fn tag(object: &Map<String, Value>, place: &Place) -> Parsed<String> {
    match given(object, "is", place)? {
        Value::String(is) if is == "has" => text(given(object, "value", place)?, &place.field("value")),
        other => Err(place.field("is").misfit(other, "has")),
    }
}

/// Neither Postgres nor people can read control characters.
fn text(found: &Value, place: &Place) -> Parsed<String> {
    let readable = |text: &&str| {
        (1..=TEXT_CHARACTERS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control)
    };
    let text = found.as_str().filter(readable);
    let way_out =
        format_args!("1 to {TEXT_CHARACTERS_MAX} characters without control characters").to_string();
    Ok(text.ok_or_else(|| place.misfit(found, way_out))?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(rules: impl ToString) -> String {
        parse(&rules.to_string()).expect_err("it is refused").to_string()
    }

    fn orders() -> Value {
        json!({"fact": "orders", "is": ">=", "value": 1})
    }

    #[test]
    fn a_tree_of_every_kind_is_read() {
        let rules = json!({"all": [
            {"any": [orders(), {"fact": "spend", "currency": "EUR", "is": "<", "value": 5}]},
            {"not": {"fact": "country", "is": "in", "value": ["Mexico", "Chad"]}},
            {"fact": "days_since_last_order", "is": "!=", "value": 0},
            {"fact": "tags", "is": "has", "value": "vip"},
        ]});
        let Rule::All(rules) = parse(&rules.to_string()).expect("rules") else { panic!("all") };
        let countries = ["Mexico", "Chad"].map(str::to_owned).to_vec();
        assert_eq!(
            rules,
            [
                Rule::Any(vec![
                    Rule::Fact(Fact::Orders { is: Compare::AtLeast, value: 1 }),
                    Rule::Fact(Fact::Spend { currency: "EUR".to_owned(), is: Compare::Less, value: 5 }),
                ]),
                Rule::Not(Box::new(Rule::Fact(Fact::Country(Country::In(countries))))),
                Rule::Fact(Fact::DaysSinceLastOrder { is: Compare::NotEqual, value: 0 }),
                Rule::Fact(Fact::Tag("vip".to_owned())),
            ]
        );
    }

    #[test]
    fn empty_rules_are_refused() {
        for empty in [json!({}), json!([]), json!(null), json!("")] {
            assert!(refusal(&empty).starts_with("rules is "), "{empty}");
        }
        assert!(refusal("").starts_with("rules is no JSON"));
        assert!(refusal(json!({"all": []})).starts_with("rules.all is "));
        assert!(refusal(json!({"any": [orders(), {"not": {}}]})).starts_with("rules.any[1].not is "));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name_and_place() {
        let operator = json!({"all": [{"fact": "orders", "is": "~", "value": 1}]});
        assert_eq!(refusal(operator), r#"rules.all[0].is is "~": send one of =, !=, <, <=, >, >="#);
        let fact = json!({"not": {"fact": "age", "is": "=", "value": 1}});
        assert!(refusal(fact).starts_with(r#"rules.not.fact is "age": send "#));
        let field = json!({"fact": "orders", "is": "=", "value": 1, "currency": "EUR"});
        assert_eq!(refusal(field), r#"rules has the unknown field "currency": send only fact, is, value"#);
        let both = json!({"all": [orders()], "any": [orders()]});
        assert_eq!(refusal(both), r#"rules has the unknown field "any": send only all"#);
        assert!(refusal(json!({"xor": [orders()]})).starts_with("rules is no rule"));
        assert_eq!(refusal(json!({"fact": "orders", "value": 1})), "rules.is is missing: send it");
        assert!(refusal(json!({"fact": "tags", "is": "=", "value": "vip"})).contains("rules.is is \"=\""));
        assert!(refusal(json!({"fact": "country", "is": "<", "value": "Chad"})).contains("=, !=, in"));
    }

    #[test]
    fn values_have_the_type_and_the_size_of_their_fact() {
        for value in [json!("1"), json!(-1), json!(1.5), json!(null), json!(i64::MAX)] {
            let refusal = refusal(json!({"fact": "orders", "is": "=", "value": value}));
            assert!(
                refusal.starts_with("rules.value is ") && refusal.contains("0 to 1000000000"),
                "{refusal}"
            );
        }
        let days = json!({"fact": "days_since_last_order", "is": "=", "value": DAYS_MAX + 1});
        assert!(refusal(days).contains("0 to 36500"));
        for value in [json!(""), json!("a\0"), json!("x".repeat(201)), json!(1)] {
            let refusal = refusal(json!({"fact": "tags", "is": "has", "value": value}));
            assert!(refusal.contains("1 to 200 characters"), "{refusal}");
        }
        assert!(refusal(json!({"fact": "country", "is": "in", "value": []})).contains("1 to 100 countries"));
        let spend = json!({"fact": "spend", "currency": "eur", "is": "=", "value": 1});
        assert!(refusal(spend).starts_with(r#"rules.currency is "eur""#));
    }

    #[test]
    fn a_tree_has_a_bounded_size_and_depth() {
        let nested = |depth| (1..depth).fold(orders(), |rule, _| json!({"not": rule}));
        assert!(parse(&nested(DEPTH_MAX).to_string()).is_ok());
        assert!(refusal(nested(DEPTH_MAX + 1)).contains("too deep"));
        let wide = |rules: usize| json!({"all": vec![orders(); rules - 1]});
        assert!(parse(&wide(RULES_MAX).to_string()).is_ok());
        assert!(refusal(wide(RULES_MAX + 1)).contains("at most 100 rules"));
        assert!(refusal(" ".repeat(RULES_BYTES_MAX + 1)).contains("at most 20000"));
        assert!(refusal("[".repeat(10_000)).contains("is no JSON"));
    }
}
