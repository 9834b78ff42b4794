//! The id of an instance of a saga.

use std::fmt;
use std::str::FromStr;

use crate::layout;

/// A saga and an instance: `fulfilment/10248`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// The saga's name.
    pub saga: String,
    /// The instance.
    pub instance: String,
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (saga, instance) = text.split_once('/').unwrap_or_default();
        let known = layout::known_sagas();
        if known.contains(&saga) && !instance.is_empty() {
            return Ok(Self { saga: saga.to_owned(), instance: instance.to_owned() });
        }
        Err(format!("write saga/instance, such as fulfilment/10248; there are {}", known.join(", ")))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.saga, self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_its_saga_and_its_own_name() {
        let id: Id = "fulfilment/a/b".parse().unwrap();
        assert_eq!((id.saga.as_str(), id.instance.as_str()), ("fulfilment", "a/b"));
        for wrong in ["10248", "sleeping/1", "fulfilment/"] {
            assert!(wrong.parse::<Id>().unwrap_err().contains("there are checkout, fulfilment"), "{wrong}");
        }
    }
}
