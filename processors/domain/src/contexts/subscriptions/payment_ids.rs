//! Ids of the payments of periods.

/// The id of the payment of a period.
pub fn payment_id(subscription_id: &str, period_number: i64) -> String {
    format!("{subscription_id}.{period_number}")
}

/// The subscription and the period that a payment with this id pays for, if it pays for one.
pub fn period_of(payment_id: &str) -> Option<(&str, i64)> {
    let (subscription_id, number) = payment_id.rsplit_once('.')?;
    Some((subscription_id, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_payment_names_its_subscription_and_period() {
        for (subscription_id, number) in [("s1", 1), ("s.1", 12), ("", i64::MAX)] {
            assert_eq!(period_of(&payment_id(subscription_id, number)), Some((subscription_id, number)));
        }
        for id in ["10248", "s1.", "s1.x"] {
            assert_eq!(period_of(id), None);
        }
    }
}
