//! Refusals of accounts.

use crate::contexts::customers;
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        customers::refusals::CUSTOMER_MISSING,
        shared::AMOUNT_INVALID,
        shared::CURRENCY_INVALID,
        shared::ID_INVALID,
        shared::REASON_INVALID,
        shared::TEXT_INVALID,
        shared::TIME_INVALID,
    ];
    ACCOUNT_CLOSED = "account-closed" when "the account was closed";
    ACCOUNT_EXISTS = "account-exists" when "an account with this id was already opened";
    ACCOUNT_FROZEN = "account-frozen" when "the account is frozen";
    ACCOUNT_ID_INVALID = "account-id-invalid" when "the account's id is not 1 to 20 capital letters and digits";
    ACCOUNT_NOT_FROZEN = "account-not-frozen" when "an account that is not frozen is to be unfrozen";
    ACCOUNT_UNKNOWN = "account-unknown" when "the account was never opened";
    ACCOUNTS_SAME = "accounts-same" when "a transfer names the same account twice";
    BALANCE_NOT_ZERO = "balance-not-zero" when "money is on an account that is to be closed, or missing from it";
    BALANCE_TOO_LARGE = "balance-too-large" when "the account would hold more than an account may hold";
    CURRENCY_DIFFERS = "currency-differs" when "the currency is not that of the account";
    FUNDS_INSUFFICIENT = "funds-insufficient" when "more is taken out or set aside than is available, the overdraft included";
    HOLD_EXISTS = "hold-exists" when "the account has an open hold with this id";
    HOLD_UNKNOWN = "hold-unknown" when "the account has no open hold with this id";
    HOLDS_OPEN = "holds-open" when "an account with open holds is to be closed";
    HOLDS_TOO_MANY = "holds-too-many" when "the account has as many open holds as it may have";
    INITIAL_BALANCE_INVALID = "initial-balance-invalid" when "the first deposit is below 0 or too large";
    KIND_INVALID = "kind-invalid" when "the kind of account is not known";
    OVERDRAFT_INVALID = "overdraft-invalid" when "the overdraft is below 0 or too large";
}
