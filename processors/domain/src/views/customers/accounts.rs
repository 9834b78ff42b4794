//! The number of a customer's accounts, their balances, and when money last moved.

use millrace_schemas::accounts::Event as Accounts;

use super::{CustomerRow, add};
use crate::views::{account_entries, time};

impl CustomerRow {
    /// After something happened to one of their accounts. Holds and freezes change nothing of what is on it.
    pub(super) fn banked(mut self, event: &Accounts) -> Self {
        match event {
            Accounts::AccountOpened(_) => self.accounts = self.accounts.wrapping_add(1),
            Accounts::AccountClosed(_) => self.accounts = self.accounts.wrapping_sub(1),
            event => account_entries::of_account(event).into_iter().for_each(|entry| {
                add(&mut self.balance, entry.currency, entry.signed());
                self.last_transaction_at = self.last_transaction_at.max(Some(time(entry.booked_at)));
            }),
        }
        self
    }
}

pub(super) fn of_account(event: &Accounts) -> Option<&str> {
    match event {
        Accounts::AccountOpened(event) => Some(&event.customer_id),
        Accounts::AccountClosed(event) => Some(&event.customer_id),
        event => account_entries::of_account(event).map(|entry| entry.customer_id),
    }
}

#[cfg(test)]
mod tests {
    use crate::contexts::accounts::examples::{
        closed, deposited, frozen, held, opened, received, sent, withdrawn,
    };
    use crate::testing::{assert_same_rows_in_any_order, recorded};
    use crate::view::View as _;
    use crate::views::customers::{CustomerView, Money};

    #[test]
    fn open_accounts_are_counted_and_what_is_on_them_is_added_up() {
        let rows = assert_same_rows_in_any_order::<CustomerView>(&[
            vec![opened("A1"), deposited("A1", 500, (500, 1), 0), sent("A1", "B2", 350, (150, 2))],
            vec![opened("B2"), received("B2", "A1", 350, (350, 1)), withdrawn("B2", 50, (300, 2), 0)],
            vec![opened("C3"), closed("C3")],
        ]);
        let row = &rows["ANA"];
        assert_eq!((rows.len(), row.accounts), (1, 2));
        assert_eq!(row.balance, [Money { currency: "EUR".into(), amount: 450 }]);
    }

    #[test]
    fn holds_and_freezes_are_no_business_of_the_customers_view() {
        for event in [held("A1", "h1", 5), frozen("A1")] {
            assert_eq!(CustomerView::keys(&recorded(&event, 1)), Vec::<String>::new());
        }
    }
}
