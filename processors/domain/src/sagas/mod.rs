//! Sagas: processes across contexts.

pub mod checkout;
pub mod fulfilment;
