//! The reservations of a stock, with their sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// Units promised, by reservation. Stored as that map alone; knows the sum, so that one product that is in every order does
/// not have all its reservations added up for each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, i64>")]
pub struct Reservations {
    units: BTreeMap<String, i64>,
    sum: i64,
}

impl From<BTreeMap<String, i64>> for Reservations {
    fn from(units: BTreeMap<String, i64>) -> Self {
        let sum = units.values().fold(0, |sum: i64, units| sum.saturating_add(*units));
        Self { units, sum }
    }
}

impl Serialize for Reservations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.units.serialize(serializer)
    }
}

impl Reservations {
    /// The units of all together.
    pub fn sum(&self) -> i64 {
        self.sum
    }

    /// The units of one reservation.
    pub fn get(&self, reservation_id: &str) -> Option<i64> {
        self.units.get(reservation_id).copied()
    }

    /// Adds one that is not there yet; the sum must stay within 64 bits. `None` and no change otherwise.
    pub(super) fn open(&mut self, reservation_id: &str, units: i64) -> Option<()> {
        let sum = self.sum.checked_add(units).filter(|_| !self.units.contains_key(reservation_id))?;
        self.units.insert(reservation_id.to_owned(), units);
        self.sum = sum;
        Some(())
    }

    /// Takes one away; its units.
    pub(super) fn close(&mut self, reservation_id: &str) -> Option<i64> {
        let units = self.units.remove(reservation_id)?;
        self.sum = self.sum.saturating_sub(units);
        Some(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_what_is_open() {
        let mut reservations = Reservations::default();
        assert_eq!(reservations.open("a", 2).and(reservations.open("b", 3)), Some(()));
        assert_eq!(reservations.open("a", 9), None, "it is there");
        assert_eq!(
            (reservations.close("a"), reservations.close("a"), reservations.sum()),
            (Some(2), None, 3)
        );
    }

    #[test]
    fn what_is_stored_is_the_units_by_reservation() {
        let stored = r#"{"a":2,"b":3}"#;
        let reservations: Reservations = serde_json::from_str(stored).unwrap();
        assert_eq!(reservations.sum(), 5);
        assert_eq!(serde_json::to_string(&reservations).unwrap(), stored);
    }
}
