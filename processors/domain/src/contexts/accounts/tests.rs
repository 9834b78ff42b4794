//! Accounts: which commands are accepted and which are refused.

mod any;

use millrace_schemas::accounts::{
    CloseAccount, DepositMoney, FreezeAccount, HoldMoney, MoneyDeposited, OpenAccount, ReleaseHold,
    UnfreezeAccount, WithdrawMoney,
};
use millrace_schemas::customers::Event as CustomerEvent;

use super::examples::{booked, closed, frozen, opened, unfrozen};
use super::*;
use crate::contexts::customers::Customers;
use crate::contexts::customers::examples::registered;
use crate::testing::{Given, given};

fn customer() -> CustomerEvent {
    registered("ANA", "Ana Trujillo").into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Accounts> {
    given::<Accounts>(events).and::<Customers>([customer()])
}

/// The account A1 or B2 of ANA in euros, with an overdraft of 1.00.
fn open(account_id: &str) -> OpenAccount {
    let [account_id, customer_id, kind, currency] = [account_id, "ANA", "savings", "EUR"].map(str::to_owned);
    OpenAccount {
        account_id,
        customer_id,
        kind,
        currency,
        initial_balance: 0,
        overdraft: 100,
        opened_at: booked(0),
    }
}

fn deposit(account_id: &str, amount: i64) -> DepositMoney {
    let [account_id, transaction_id, currency, text] = [account_id, "t1", "EUR", "salary"].map(str::to_owned);
    DepositMoney { account_id, transaction_id, amount, currency, text, booked_at: booked(0) }
}

/// `after` is the balance and the entry, here and below.
fn deposited(account_id: &str, amount: i64, after: (i64, i64)) -> Event {
    examples::deposited(account_id, amount, after, 0)
}

fn withdraw(account_id: &str, amount: i64) -> WithdrawMoney {
    let [account_id, transaction_id, currency, text] = [account_id, "t2", "EUR", "rent"].map(str::to_owned);
    WithdrawMoney { account_id, transaction_id, amount, currency, text, booked_at: booked(0) }
}

fn withdrawn(account_id: &str, amount: i64, after: (i64, i64)) -> Event {
    examples::withdrawn(account_id, amount, after, 0)
}

fn hold(hold_id: &str, amount: i64) -> HoldMoney {
    let [account_id, hold_id, reason] = ["A1", hold_id, "hotel"].map(str::to_owned);
    HoldMoney { account_id, hold_id, amount, reason }
}

fn held(hold_id: &str, amount: i64) -> Event {
    examples::held("A1", hold_id, amount)
}

fn release(hold_id: &str) -> ReleaseHold {
    ReleaseHold { account_id: "A1".into(), hold_id: hold_id.into() }
}

fn released(hold_id: &str, amount: i64) -> Event {
    examples::released("A1", hold_id, amount)
}

/// From A1 to B2.
fn transfer(amount: i64) -> TransferMoney {
    let [from_account_id, to_account_id, transfer_id, currency, text] =
        ["A1", "B2", "x1", "EUR", "lunch"].map(str::to_owned);
    TransferMoney {
        from_account_id,
        to_account_id,
        transfer_id,
        amount,
        currency,
        text,
        booked_at: booked(0),
    }
}

fn sent(amount: i64, after: (i64, i64)) -> Event {
    examples::sent("A1", "B2", amount, after)
}

fn received(amount: i64, after: (i64, i64)) -> Event {
    examples::received("B2", "A1", amount, after)
}

fn freeze() -> FreezeAccount {
    FreezeAccount { account_id: "A1".into(), reason: "court order".into() }
}

fn unfreeze() -> UnfreezeAccount {
    UnfreezeAccount { account_id: "A1".into(), reason: "settled".into() }
}

fn close() -> CloseAccount {
    CloseAccount { account_id: "A1".into(), closed_at: booked(9) }
}

/// What an open account takes, and a frozen or closed one does not.
fn changes() -> [Command; 7] {
    [
        deposit("A1", 1).into(),
        withdraw("A1", 1).into(),
        hold("h1", 1).into(),
        release("h1").into(),
        transfer(1).into(),
        freeze().into(),
        close().into(),
    ]
}

/// The text `field` of a command may not be empty or unreadable, nor longer than this.
fn unreadable(longest: usize) -> [String; 3] {
    [String::new(), "\0".into(), "x".repeat(longest + 1)]
}

#[test]
fn an_account_is_opened_with_a_number_for_a_customer_who_exists() {
    past([]).when(open("A1")).then([opened("A1")]);
    assert_eq!(Accounts::references(&open("A1").into()), [Reference::to::<Customers>("ANA")]);
    assert_eq!(Accounts::references(&deposit("A1", 1).into()), []);
}

#[test]
fn a_first_deposit_is_the_first_entry() {
    let first = MoneyDeposited {
        account_id: "A1".into(),
        customer_id: "ANA".into(),
        transaction_id: "opening".into(),
        amount: 500,
        currency: "EUR".into(),
        balance: 500,
        entry: 1,
        text: String::new(),
        booked_at: booked(0),
    };
    past([]).when(OpenAccount { initial_balance: 500, ..open("A1") }).then([opened("A1"), first.into()]);
}

#[test]
fn an_account_is_opened_once_even_after_it_was_closed() {
    past([opened("A1")]).when(open("A1")).then_rejected("account-exists");
    past([opened("A1"), closed("A1")]).when(open("A1")).then_rejected("account-exists");
}

#[test]
fn an_account_is_never_opened_without_its_customer() {
    given::<Accounts>([]).when(open("A1")).then_rejected("customer-unknown");
}

#[test]
fn a_malformed_account_is_rejected_and_refers_to_nothing() {
    let refused = |command: OpenAccount, code: &str| {
        assert_eq!(Accounts::references(&command.clone().into()), []);
        past([]).when(command).then_rejected(code);
    };
    refused(open("a1"), "account-id-invalid");
    refused(OpenAccount { customer_id: "\0".into(), ..open("A1") }, "id-invalid");
    refused(OpenAccount { kind: "Current".into(), ..open("A1") }, "kind-invalid");
    refused(OpenAccount { currency: "eur".into(), ..open("A1") }, "currency-invalid");
    refused(OpenAccount { opened_at: i64::MAX, ..open("A1") }, "time-invalid");
    for amount in [i64::MIN, -1, AMOUNT_MAX + 1, i64::MAX] {
        refused(OpenAccount { initial_balance: amount, ..open("A1") }, "initial-balance-invalid");
        refused(OpenAccount { overdraft: amount, ..open("A1") }, "overdraft-invalid");
    }
}

#[test]
fn money_is_put_in_and_taken_out_and_each_entry_states_the_balance_after_it() {
    past([opened("A1")]).when(deposit("A1", 500)).then([deposited("A1", 500, (500, 1))]);
    past([opened("A1"), deposited("A1", 500, (500, 1))]).when(withdraw("A1", 200)).then([withdrawn(
        "A1",
        200,
        (300, 2),
    )]);
}

#[test]
fn an_account_may_be_overdrawn_as_far_as_was_agreed() {
    past([opened("A1")]).when(withdraw("A1", 100)).then([withdrawn("A1", 100, (-100, 1))]);
    past([opened("A1")]).when(withdraw("A1", 101)).then_rejected("funds-insufficient");
    past([opened("A1"), withdrawn("A1", 100, (-100, 1))])
        .when(withdraw("A1", 1))
        .then_rejected("funds-insufficient");
}

#[test]
fn an_account_holds_no_more_than_fits() {
    let full = || past([opened("A1"), deposited("A1", BALANCE_MAX - 5, (BALANCE_MAX - 5, 1))]);
    full().when(deposit("A1", 5)).then([deposited("A1", 5, (BALANCE_MAX, 2))]);
    full().when(deposit("A1", 6)).then_rejected("balance-too-large");
    let rich = [opened("A1"), deposited("A1", 9, (9, 1)), opened("B2")].into_iter();
    let full = rich.chain([deposited("B2", BALANCE_MAX, (BALANCE_MAX, 1))]);
    past(full).when(transfer(1)).then_rejected("balance-too-large");
}

#[test]
fn malformed_movements_are_rejected() {
    let past = || past([opened("A1"), opened("B2")]);
    for amount in [i64::MIN, -1, 0, AMOUNT_MAX + 1, i64::MAX] {
        past().when(deposit("A1", amount)).then_rejected("amount-invalid");
        past().when(withdraw("A1", amount)).then_rejected("amount-invalid");
        past().when(transfer(amount)).then_rejected("amount-invalid");
        past().when(hold("h1", amount)).then_rejected("amount-invalid");
    }
    for id in unreadable(200) {
        past()
            .when(DepositMoney { transaction_id: id.clone(), ..deposit("A1", 1) })
            .then_rejected("id-invalid");
        past()
            .when(WithdrawMoney { transaction_id: id.clone(), ..withdraw("A1", 1) })
            .then_rejected("id-invalid");
        past().when(TransferMoney { transfer_id: id.clone(), ..transfer(1) }).then_rejected("id-invalid");
        past().when(hold(&id, 1)).then_rejected("id-invalid");
    }
    for reason in unreadable(500) {
        past().when(HoldMoney { reason, ..hold("h1", 1) }).then_rejected("reason-invalid");
    }
    for text in ["\0".to_owned(), "x".repeat(141)] {
        past().when(DepositMoney { text: text.clone(), ..deposit("A1", 1) }).then_rejected("text-invalid");
        past().when(WithdrawMoney { text: text.clone(), ..withdraw("A1", 1) }).then_rejected("text-invalid");
        past().when(TransferMoney { text, ..transfer(1) }).then_rejected("text-invalid");
    }
    past().when(DepositMoney { booked_at: i64::MAX, ..deposit("A1", 1) }).then_rejected("time-invalid");
    past().when(WithdrawMoney { booked_at: i64::MAX, ..withdraw("A1", 1) }).then_rejected("time-invalid");
    past().when(TransferMoney { booked_at: i64::MAX, ..transfer(1) }).then_rejected("time-invalid");
}

#[test]
fn nothing_is_exchanged() {
    let past = || past([opened("A1"), opened("B2")]);
    let dollars = || "USD".to_owned();
    past().when(DepositMoney { currency: dollars(), ..deposit("A1", 1) }).then_rejected("currency-differs");
    past().when(WithdrawMoney { currency: dollars(), ..withdraw("A1", 1) }).then_rejected("currency-differs");
    past().when(TransferMoney { currency: dollars(), ..transfer(1) }).then_rejected("currency-differs");
}

#[test]
fn accounts_of_different_currencies_pay_each_other_nothing() {
    let dollars = past([]).after([
        OpenAccount { initial_balance: 9, ..open("A1") }.into(),
        OpenAccount { currency: "USD".into(), ..open("B2") }.into(),
    ]);
    dollars.when(transfer(1)).then_rejected("currency-differs");
}

#[test]
fn held_money_stays_on_the_account_and_cannot_be_taken_out() {
    let rich = || past([opened("A1"), deposited("A1", 500, (500, 1)), opened("B2"), held("h1", 400)]);
    past([opened("A1"), deposited("A1", 500, (500, 1))]).when(hold("h1", 400)).then([held("h1", 400)]);
    rich().when(withdraw("A1", 200)).then([withdrawn("A1", 200, (300, 2))]);
    rich().when(withdraw("A1", 201)).then_rejected("funds-insufficient");
    rich().when(transfer(201)).then_rejected("funds-insufficient");
    rich().when(hold("h2", 201)).then_rejected("funds-insufficient");
    rich().when(hold("h1", 1)).then_rejected("hold-exists");
}

#[test]
fn a_released_hold_is_available_again_and_its_id_too() {
    let rich = || vec![opened("A1"), deposited("A1", 500, (500, 1)), held("h1", 600)];
    past(rich()).when(release("h1")).then([released("h1", 600)]);
    let after = || past([rich(), vec![released("h1", 600)]].concat());
    after().when(withdraw("A1", 600)).then([withdrawn("A1", 600, (-100, 2))]);
    after().when(hold("h1", 600)).then([held("h1", 600)]);
    after().when(release("h1")).then_rejected("hold-unknown");
}

#[test]
fn an_account_has_a_bounded_number_of_open_holds() {
    let holds = (0..HOLDS_MAX).map(|i| held(&format!("h{i}"), 1));
    let full = past([opened("A1"), deposited("A1", 500, (500, 1))].into_iter().chain(holds));
    full.when(hold("another", 1)).then_rejected("holds-too-many");
}

#[test]
fn a_transfer_changes_both_accounts_or_none() {
    let rich = || past([opened("A1"), deposited("A1", 500, (500, 1)), opened("B2")]);
    rich().when(transfer(550)).then([sent(550, (-50, 2)), received(550, (550, 1))]);
    rich().when(transfer(601)).then_rejected("funds-insufficient");
    past([opened("A1"), deposited("A1", 500, (500, 1))]).when(transfer(1)).then_rejected("account-unknown");
    past([opened("B2")]).when(transfer(1)).then_rejected("account-unknown");
}

#[test]
fn an_account_does_not_pay_itself() {
    let own = TransferMoney { to_account_id: "A1".into(), ..transfer(1) };
    assert_eq!(Accounts::streams(&own.clone().into()), ["A1"]);
    past([opened("A1")]).when(own).then_rejected("accounts-same");
}

#[test]
fn a_transfer_is_decided_with_both_accounts_in_sight() {
    assert_eq!(Accounts::streams(&transfer(1).into()), ["A1", "B2"]);
    let malformed = TransferMoney { to_account_id: "\0".into(), ..transfer(1) };
    assert_eq!(Accounts::streams(&malformed.into()), ["A1"]);
}

#[test]
fn a_frozen_account_takes_nothing_until_it_is_unfrozen() {
    past([opened("A1")]).when(freeze()).then([frozen("A1")]);
    let before = || vec![opened("A1"), deposited("A1", 500, (500, 1)), held("h1", 1), opened("B2")];
    for command in changes() {
        let frozen = [before(), vec![frozen("A1")]].concat();
        past(frozen).when(command).then_rejected("account-frozen");
    }
    let frozen = [before(), vec![frozen("A1")]].concat();
    past(frozen.clone()).when(unfreeze()).then([unfrozen("A1")]);
    past([frozen, vec![unfrozen("A1")]].concat()).when(release("h1")).then([released("h1", 1)]);
}

#[test]
fn a_closed_account_takes_nothing_any_more() {
    for command in changes() {
        past([opened("A1"), opened("B2"), closed("A1")]).when(command).then_rejected("account-closed");
    }
    past([opened("A1"), closed("A1")]).when(unfreeze()).then_rejected("account-not-frozen");
}

#[test]
fn no_money_is_paid_into_a_frozen_or_closed_account() {
    let rich = || vec![opened("A1"), deposited("A1", 500, (500, 1)), opened("B2")];
    past([rich(), vec![frozen("B2")]].concat()).when(transfer(1)).then_rejected("account-frozen");
    past([rich(), vec![closed("B2")]].concat()).when(transfer(1)).then_rejected("account-closed");
}

#[test]
fn only_a_frozen_account_is_unfrozen() {
    past([opened("A1")]).when(unfreeze()).then_rejected("account-not-frozen");
}

#[test]
fn who_freezes_or_unfreezes_says_why() {
    for reason in unreadable(500) {
        let (freeze, unfreeze) =
            (FreezeAccount { reason: reason.clone(), ..freeze() }, UnfreezeAccount { reason, ..unfreeze() });
        past([opened("A1")]).when(freeze).then_rejected("reason-invalid");
        past([opened("A1"), frozen("A1")]).when(unfreeze).then_rejected("reason-invalid");
    }
}

#[test]
fn only_an_empty_account_without_holds_is_closed() {
    past([opened("A1")]).when(close()).then([closed("A1")]);
    past([opened("A1"), deposited("A1", 1, (1, 1))]).when(close()).then_rejected("balance-not-zero");
    past([opened("A1"), withdrawn("A1", 1, (-1, 1))]).when(close()).then_rejected("balance-not-zero");
    past([opened("A1"), held("h1", 1)]).when(close()).then_rejected("holds-open");
    past([opened("A1")]).when(CloseAccount { closed_at: i64::MIN, ..close() }).then_rejected("time-invalid");
}

#[test]
fn an_account_that_was_never_opened_takes_nothing() {
    for command in changes() {
        past([opened("B2")]).when(command).then_rejected("account-unknown");
    }
    past([]).when(unfreeze()).then_rejected("account-unknown");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state = |events: &[Event]| events.iter().fold(None, Accounts::evolve);
    assert_eq!(state(&[deposited("A1", 1, (1, 1))]), None);
    for (past, impossible) in [
        (vec![opened("A1"), deposited("A1", 1, (1, 1))], opened("A1")),
        (vec![opened("A1")], unfrozen("A1")),
        (vec![opened("A1"), held("h1", 1)], held("h1", 2)),
        (vec![opened("A1")], released("h1", 1)),
        (vec![opened("A1"), frozen("A1")], deposited("A1", 1, (1, 1))),
        (vec![opened("A1"), frozen("A1")], closed("A1")),
        (vec![opened("A1"), closed("A1")], frozen("A1")),
        (vec![opened("A1"), closed("A1")], sent(1, (-1, 1))),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}
