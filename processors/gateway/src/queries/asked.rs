//! A request of a query.

use super::parameter::{self, Kind, Parameter, Value};
use super::route::{self, PAGE, Route};
use crate::problem::FieldError;

/// A request that fits its route.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What its path names.
    pub(super) id: Option<String>,
    known: Vec<Parameter>,
    values: Vec<Option<Value>>,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub(crate) fn read(
        route: &Route,
        id: Option<String>,
        given: &[(String, String)],
    ) -> Result<Self, Vec<FieldError>> {
        let known = route.in_query();
        let named = route.named().zip(id.as_deref());
        let named = named.and_then(|(name, id)| Some((name, Kind::Text.read(id).err()?)));
        let wrong = named.map(|(name, message)| FieldError { path: name.to_owned(), message });
        match (wrong, parameter::read(&known, given)) {
            (None, Ok(values)) => Ok(Self { id, known, values }),
            (wrong, values) => Err(wrong.into_iter().chain(values.err().into_iter().flatten()).collect()),
        }
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        let place = self.known.iter().position(|parameter| parameter.name == name)?;
        self.values.get(place)?.as_ref()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of the page, at most.
    pub(super) fn limit(&self) -> i64 {
        match self.value(route::LIMIT.name) {
            Some(Value::Integer(limit)) => *limit,
            _ => PAGE,
        }
    }

    /// Where the page begins.
    pub(super) fn after(&self) -> Option<&str> {
        self.text(route::AFTER.name)
    }

    /// The parameters of the route itself, with their values.
    pub(super) fn of_route(&self) -> impl Iterator<Item = (&Parameter, &Option<Value>)> {
        let of_page = [route::LIMIT.name, route::AFTER.name];
        self.known.iter().zip(&self.values).filter(move |(parameter, _)| !of_page.contains(&parameter.name))
    }
}
