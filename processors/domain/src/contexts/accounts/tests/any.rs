//! Property: for any commands, no account is below its overdraft, and money is neither created nor lost.

use proptest::prelude::*;

use super::*;
use crate::testing::{fold_tally, fold_view};
use crate::views::account_balances::AccountBalanceView;
use crate::views::account_statement::AccountStatementView;
use crate::views::ledger_balances::{LedgerBalances, Posted, TRANSIT};

/// Open from the beginning; others may be opened later, with money on them.
const OPEN: [&str; 2] = ["A1", "B2"];

/// Mostly valid ones, so that most sequences make progress.
fn any_command() -> impl Strategy<Value = Command> {
    let account = prop::sample::select(vec!["A1", "A1", "B2", "B2", "C3", "C3", "unknown"]);
    let amount = prop_oneof![20 => 1..300_i64, 1 => any::<i64>(), 1 => Just(AMOUNT_MAX)];
    (0..24, account.clone(), account, amount, "h[1-3]").prop_map(|(kind, from, to, amount, id)| {
        let account_id = from.to_owned();
        match kind {
            0..=2 => deposit(from, amount).into(),
            3..=4 => withdraw(from, amount).into(),
            5..=7 => HoldMoney { account_id, ..hold(&id, amount) }.into(),
            8..=10 => ReleaseHold { account_id, ..release(&id) }.into(),
            11 => FreezeAccount { account_id, ..freeze() }.into(),
            12..=13 => UnfreezeAccount { account_id, ..unfreeze() }.into(),
            14 => CloseAccount { account_id, ..close() }.into(),
            15..=16 => OpenAccount { initial_balance: amount, ..open(from) }.into(),
            _ => TransferMoney { from_account_id: account_id, to_account_id: to.into(), ..transfer(amount) }
                .into(),
        }
    })
}

/// What was paid in, less what was paid out.
fn paid_in(events: &[Event]) -> i64 {
    let amount = |event: &Event| match event {
        Event::MoneyDeposited(event) => event.amount,
        Event::MoneyWithdrawn(event) => -event.amount,
        Event::TransferReceived(_)
        | Event::TransferSent(_)
        | Event::AccountClosed(_)
        | Event::AccountFrozen(_)
        | Event::AccountOpened(_)
        | Event::AccountUnfrozen(_)
        | Event::HoldReleased(_)
        | Event::MoneyHeld(_) => 0,
    };
    events.iter().map(amount).sum()
}

/// Account, balance and entry, as an event states them.
fn stated(event: &Event) -> Option<(&str, i64, i64)> {
    match event {
        Event::MoneyDeposited(event) => Some((&event.account_id, event.balance, event.entry)),
        Event::MoneyWithdrawn(event) => Some((&event.account_id, event.balance, event.entry)),
        Event::TransferReceived(event) => Some((&event.account_id, event.balance, event.entry)),
        Event::TransferSent(event) => Some((&event.account_id, event.balance, event.entry)),
        Event::AccountClosed(_)
        | Event::AccountFrozen(_)
        | Event::AccountOpened(_)
        | Event::AccountUnfrozen(_)
        | Event::HoldReleased(_)
        | Event::MoneyHeld(_) => None,
    }
}

/// What was credited to each ledger account, less what was debited.
fn posted(events: &[millrace_schemas::Event]) -> BTreeMap<String, i64> {
    let sums = fold_tally::<LedgerBalances>(events).into_iter();
    sums.map(|(key, Posted { debit, credit })| (key.ledger_account, credit - debit)).collect()
}

fn assert_nothing_happened_while_it_was_not_open(before: &Account, after: &Account) {
    if before.status != Status::Open {
        assert_eq!(&Account { status: before.status, ..after.clone() }, before, "but its status");
    }
    if before.status == Status::Closed {
        assert_eq!(after.status, Status::Closed);
    }
}

proptest! {
    #[test]
    fn whatever_comes_accounts_stay_above_their_overdraft_and_money_is_conserved(
        commands in prop::collection::vec(any_command(), 0..50),
    ) {
        let mut past = past([]).after(OPEN.map(|id| open(id).into()));
        for command in commands {
            let before = past.states().clone();
            past = past.after([command]);
            for (id, account) in past.states() {
                prop_assert!(account.available() >= -account.overdraft, "{} has {:?}", id, account);
                prop_assert!(account.balance <= BALANCE_MAX && account.holds.len() <= HOLDS_MAX);
                before.get(id).inspect(|before| assert_nothing_happened_while_it_was_not_open(before, account));
            }
            let balances: i64 = past.states().values().map(|account| account.balance).sum();
            prop_assert_eq!(balances, paid_in(past.accepted()));
        }
    }

    #[test]
    fn whatever_comes_the_entries_of_an_account_are_numbered_and_state_its_balance(
        commands in prop::collection::vec(any_command(), 0..50),
    ) {
        let past = past([]).after(OPEN.map(|id| open(id).into())).after(commands);
        for (id, account) in past.states() {
            let entries: Vec<(i64, i64)> = past.accepted().iter().filter_map(stated)
                .filter(|(of, ..)| of == id).map(|(_, balance, entry)| (balance, entry)).collect();
            let numbers: Vec<i64> = entries.iter().map(|(_, entry)| *entry).collect();
            prop_assert_eq!(numbers, (1..=account.entries).collect::<Vec<_>>());
            prop_assert_eq!(entries.last().map_or(0, |(balance, _)| *balance), account.balance);
        }
    }

    #[test]
    fn whatever_comes_readers_see_the_states_and_the_ledger_sums_to_zero(
        commands in prop::collection::vec(any_command(), 0..50),
    ) {
        let past = past([]).after(OPEN.map(|id| open(id).into())).after(commands);
        let events: Vec<_> = past.accepted().iter().cloned().map(millrace_schemas::Event::Accounts).collect();
        let balances = fold_view::<AccountBalanceView>(&events);
        let ledger = posted(&events);
        for (id, account) in past.states() {
            let row = &balances[id];
            let seen = [row.balance, row.held, row.available, row.entries];
            prop_assert_eq!(seen, [account.balance, account.held(), account.available(), account.entries]);
            prop_assert_eq!(ledger.get(id).copied().unwrap_or_default(), account.balance);
        }
        prop_assert_eq!(ledger.values().sum::<i64>(), 0);
        prop_assert_eq!(ledger.get(TRANSIT).copied().unwrap_or_default(), 0);
        let entries = fold_view::<AccountStatementView>(&events).into_values().map(|row| row.amount);
        prop_assert_eq!(entries.sum::<i64>(), paid_in(past.accepted()));
    }
}
