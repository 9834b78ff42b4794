//! Statements are constants, so that a story can prepare each of them on the migrated tables.

/// Statements by name, and the list of them.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* const $name: &str = $sql;)+

        /// All statements of this module.
        pub(crate) const STATEMENTS: &[&str] = &[$($name),+];
    };
}

pub(crate) use statements;
