//! Rules as SQL over the SQL view `customers`. Values are parameters, never part of the text.

use chrono::{DateTime, Utc};

use super::{Compare, Country, DAY, Fact, Rule};

/// SQL with `$1`, `$2`, …, and their values in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sql {
    /// The text.
    pub text: String,
    /// The values.
    pub parameters: Vec<Parameter>,
}

/// A value of a parameter, with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// `text`
    Text(String),
    /// `text[]`
    Texts(Vec<String>),
    /// `bigint`
    Integer(i64),
    /// `timestamptz`
    Time(DateTime<Utc>),
}

/// The channel of a campaign's messages, which determines the address that a customer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// To the e-mail address.
    Email,
    /// To the phone number.
    Sms,
}

/// A query of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'q> {
    /// How many customers it has: one `bigint`.
    Count,
    /// The next customers: `customer_id`, `name`, `contact_name`, `address`, in the order of their ids.
    Next {
        /// The last known customer; empty before the first.
        after: &'q str,
        /// At most this many.
        most: i64,
    },
}

impl Channel {
    /// The channel of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "email" => Some(Self::Email),
            "sms" => Some(Self::Sms),
            _ => None,
        }
    }

    /// The column of the address.
    fn column(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "phone",
        }
    }
}

/// The customers who match a rule, want notifications, and have an address for the channel.
pub fn audience(rule: &Rule, channel: Channel, as_of: DateTime<Utc>, query: Query<'_>) -> Sql {
    let (mut sql, address) = (condition(rule, as_of), channel.column());
    let reached = format!("name IS NOT NULL AND {address} IS NOT NULL AND notifications_wanted");
    let taken = format!("FROM customers WHERE {reached} AND {}", sql.text);
    sql.text = match query {
        Query::Count => format!("SELECT count(*) {taken}"),
        Query::Next { after, most } => {
            let after = sql.text_parameter(after);
            let most = sql.integer(most);
            format!(
                "SELECT customer_id, name, contact_name, {address} AS address {taken} \
                 AND customer_id > {after} ORDER BY customer_id LIMIT {most}"
            )
        }
    };
    sql
}

/// A rule as a condition on a row of `customers`: true or false, never null.
pub fn condition(rule: &Rule, as_of: DateTime<Utc>) -> Sql {
    let mut sql = Sql::default();
    sql.text = sql.rule(rule, as_of);
    sql
}

impl Sql {
    fn rule(&mut self, rule: &Rule, as_of: DateTime<Utc>) -> String {
        match rule {
            Rule::All(rules) => self.joined(rules, " AND ", as_of),
            Rule::Any(rules) => self.joined(rules, " OR ", as_of),
            Rule::Not(rule) => format!("(NOT {})", self.rule(rule, as_of)),
            // In SQL a missing fact is null.
            Rule::Fact(fact) => format!("coalesce({}, false)", self.fact(fact, as_of)),
        }
    }

    fn joined(&mut self, rules: &[Rule], by: &str, as_of: DateTime<Utc>) -> String {
        let rules: Vec<String> = rules.iter().map(|rule| self.rule(rule, as_of)).collect();
        format!("({})", rules.join(by))
    }

    fn fact(&mut self, fact: &Fact, as_of: DateTime<Utc>) -> String {
        match fact {
            Fact::Spend { currency, is, value } => {
                let currency = self.text_parameter(currency);
                let spend = format!(
                    "(SELECT (m ->> 'amount')::bigint FROM jsonb_array_elements(order_value) AS m \
                     WHERE m ->> 'currency' = {currency})"
                );
                self.compared(&spend, *is, *value)
            }
            Fact::Orders { is, value } => self.compared("order_count", *is, *value),
            Fact::DaysSinceLastOrder { is, value } => self.days(*is, *value, as_of),
            Fact::Country(Country::Is(country)) => format!("country = {}", self.text_parameter(country)),
            Fact::Country(Country::IsNot(country)) => format!("country <> {}", self.text_parameter(country)),
            Fact::Country(Country::In(countries)) => {
                let countries = self.bind(Parameter::Texts(countries.clone()));
                format!("country = ANY ({countries}::text[])")
            }
            Fact::Tag(tag) => format!("tags ? {}", self.text_parameter(tag)),
        }
    }

    fn compared(&mut self, found: &str, is: Compare, value: i64) -> String {
        let operator = match is {
            Compare::Equal => "=",
            Compare::NotEqual => "<>",
            Compare::Less => "<",
            Compare::AtMost => "<=",
            Compare::Greater => ">",
            Compare::AtLeast => ">=",
        };
        format!("{found} {operator} {}", self.integer(value))
    }

    /// Whole days as times: at least n days have passed when the order is not later than the time n days ago.
    fn days(&mut self, is: Compare, days: i64, as_of: DateTime<Utc>) -> String {
        let last = "last_order_at";
        let mut ago = |days: i64| self.moment(as_of, days);
        let next = days.saturating_add(1);
        match is {
            Compare::Equal => format!("({last} <= {} AND {last} > {})", ago(days), ago(next)),
            Compare::NotEqual => format!("({last} > {} OR {last} <= {})", ago(days), ago(next)),
            Compare::Less => format!("{last} > {}", ago(days)),
            Compare::AtMost => format!("{last} > {}", ago(next)),
            Compare::Greater => format!("{last} <= {}", ago(next)),
            Compare::AtLeast => format!("{last} <= {}", ago(days)),
        }
    }

    fn moment(&mut self, as_of: DateTime<Utc>, days_before: i64) -> String {
        let micros = as_of.timestamp_micros().saturating_sub(days_before.saturating_mul(DAY));
        let moment = DateTime::from_timestamp_micros(micros).unwrap_or_default();
        format!("{}::timestamptz", self.bind(Parameter::Time(moment)))
    }

    fn text_parameter(&mut self, text: &str) -> String {
        format!("{}::text", self.bind(Parameter::Text(text.to_owned())))
    }

    fn integer(&mut self, number: i64) -> String {
        format!("{}::bigint", self.bind(Parameter::Integer(number)))
    }

    fn bind(&mut self, parameter: Parameter) -> String {
        self.parameters.push(parameter);
        format!("${}", self.parameters.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::segments::parse;

    const AS_OF: i64 = 1_700_000_000_000_000;

    fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(micros).expect("a time")
    }

    fn compiled(rules: Value) -> Sql {
        condition(&parse(&rules.to_string()).expect("rules"), at(AS_OF))
    }

    #[test]
    fn values_are_parameters_and_never_text() {
        let hostile = "'; DROP TABLE customers; --";
        let sql = compiled(json!({"any": [
            {"fact": "country", "is": "=", "value": hostile},
            {"fact": "country", "is": "in", "value": [hostile]},
            {"not": {"fact": "tags", "is": "has", "value": hostile}},
        ]}));
        assert_eq!(
            sql.text,
            "(coalesce(country = $1::text, false) OR coalesce(country = ANY ($2::text[]), false) \
             OR (NOT coalesce(tags ? $3::text, false)))"
        );
        let text = || Parameter::Text(hostile.to_owned());
        assert_eq!(sql.parameters, [text(), Parameter::Texts(vec![hostile.to_owned()]), text()]);
    }

    #[test]
    fn whole_days_become_moments() {
        let days = |is: &str| compiled(json!({"fact": "days_since_last_order", "is": is, "value": 2}));
        let (two, three) = (Parameter::Time(at(AS_OF - 2 * DAY)), Parameter::Time(at(AS_OF - 3 * DAY)));
        let equal = days("=");
        assert_eq!(
            equal.text,
            "coalesce((last_order_at <= $1::timestamptz AND last_order_at > $2::timestamptz), false)"
        );
        assert_eq!(equal.parameters, [two.clone(), three.clone()]);
        assert_eq!(days(">=").text, "coalesce(last_order_at <= $1::timestamptz, false)");
        assert_eq!((days(">=").parameters, days(">").parameters), (vec![two], vec![three]));
    }

    #[test]
    fn an_audience_wants_messages_and_has_an_address_of_the_channel() {
        let rule = parse(r#"{"fact": "orders", "is": ">", "value": 1}"#).expect("rules");
        let count = audience(&rule, Channel::Sms, at(AS_OF), Query::Count);
        assert_eq!(
            count.text,
            "SELECT count(*) FROM customers WHERE name IS NOT NULL AND phone IS NOT NULL AND notifications_wanted \
             AND coalesce(order_count > $1::bigint, false)"
        );
        let next = audience(&rule, Channel::Email, at(AS_OF), Query::Next { after: "ANATR", most: 7 });
        assert!(next.text.contains("email AS address"), "{}", next.text);
        assert!(next.text.ends_with("AND customer_id > $2::text ORDER BY customer_id LIMIT $3::bigint"));
        let after = Parameter::Text("ANATR".to_owned());
        assert_eq!(next.parameters, [Parameter::Integer(1), after, Parameter::Integer(7)]);
    }
}
