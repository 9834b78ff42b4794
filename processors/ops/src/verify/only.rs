//! A comparison of only some rows: that of a key, or those of a customer.

/// The column by which rows name their customer.
pub(crate) const CUSTOMER: &str = "customer_id";

/// The rows to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only {
    /// The row with this key.
    Key(String),
    /// The rows of this customer.
    Customer(String),
}

impl Only {
    /// The key, or the customer's id.
    pub fn id(&self) -> &str {
        let (Self::Key(id) | Self::Customer(id)) = self;
        id
    }

    /// The column of a table that has the id, in SQL. `key` is the key's.
    pub(crate) fn column<'a>(&self, key: &'a str) -> &'a str {
        match self {
            Self::Key(_) => key,
            Self::Customer(_) => CUSTOMER,
        }
    }

    /// Whether either of two rows, whose fields are JSON and whose key is `key`, has the id that a parameter names.
    pub(crate) fn either(&self, parameter: &str, [left, right]: [&str; 2]) -> String {
        match self {
            Self::Key(_) => format!("key = {parameter}"),
            Self::Customer(_) => {
                format!("{parameter} IN ({left} ->> '{CUSTOMER}', {right} ->> '{CUSTOMER}')")
            }
        }
    }

    /// As [`either`](Self::either); every pair of rows when there is no restriction.
    pub(crate) fn restriction(only: Option<&Self>, parameter: &str, fields: [&str; 2]) -> String {
        // The parameter has its type also when nothing is compared with it.
        let either = only.map_or_else(|| "true".to_owned(), |only| only.either(parameter, fields));
        format!("({parameter}::text IS NULL OR {either})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_by_their_key_or_by_the_customer_of_either_side() {
        let of = |only: Option<Only>| Only::restriction(only.as_ref(), "$2", ["s", "b"]);
        assert_eq!(of(None), "($2::text IS NULL OR true)");
        assert_eq!(of(Some(Only::Key("1".to_owned()))), "($2::text IS NULL OR key = $2)");
        let customers = "($2::text IS NULL OR $2 IN (s ->> 'customer_id', b ->> 'customer_id'))";
        assert_eq!(of(Some(Only::Customer("ANA".to_owned()))), customers);
    }
}
