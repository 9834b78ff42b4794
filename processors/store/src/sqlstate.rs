//! The meaning of an SQLSTATE for the work in progress: by its class (PostgreSQL's manual, appendix A), except for a few codes.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// The meaning of a Postgres error for the work in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The data of a record is refused: the record is found by bisection, and the others commit.
    BadData,
    /// Two transactions were in conflict.
    InTheWay,
    /// It exceeded a limit of time or memory: try again with fewer records.
    TooMuch,
    /// The database does not have the schema that this build needs, or the role may not use it. It is not the fault of a record.
    OtherShape,
    /// The column types of a prepared statement have changed: try again on a connection that has not prepared it.
    Outdated,
    /// A prepared statement is unknown, or exists already, or the session cannot be opened with its settings: a pooler shares
    /// sessions between clients.
    SharedSession,
    /// The server cannot do it now: it is full, read-only, starting, stopping or broken; or the reason is unknown. Waiting loses
    /// nothing.
    NotNow,
}

use Means::{BadData, InTheWay, NotNow, OtherShape, Outdated, SharedSession, TooMuch};

/// Distinguishes a prepared statement whose column types have changed from other unsupported features, by the routine in Postgres
/// that reports it. The JDBC driver uses the same criterion.
const OUTDATED: (&str, &str) = ("0A000", "RevalidateCachedQuery");

/// Codes whose meaning differs from that of their class.
const CODES: [(&str, Means); 10] = [
    ("08P01", SharedSession), // protocol_violation: PgBouncer takes no `options` when a session is opened
    ("25P03", TooMuch),       // idle_in_transaction_session_timeout
    ("25P04", TooMuch),       // transaction_timeout
    ("42P05", SharedSession), // duplicate_prepared_statement
    ("53200", TooMuch),       // out_of_memory
    ("54001", TooMuch),       // statement_too_complex
    ("54011", OtherShape),    // too_many_columns
    ("55P03", InTheWay),      // lock_not_available
    ("57014", TooMuch),       // query_canceled, by statement_timeout or by a person
    ("P0001", BadData),       // raise_exception: a trigger that an operator has added refuses a row
];

/// Every class of the manual.
const CLASSES: [(&str, Means); 44] = [
    ("00", NotNow),        // successful completion
    ("01", NotNow),        // warning
    ("02", NotNow),        // no data
    ("03", OtherShape),    // SQL statement not yet complete
    ("08", NotNow),        // connection exception
    ("09", OtherShape),    // triggered action exception
    ("0A", OtherShape),    // feature not supported; see OUTDATED
    ("0B", NotNow),        // invalid transaction initiation
    ("0F", OtherShape),    // locator exception
    ("0L", OtherShape),    // invalid grantor
    ("0P", OtherShape),    // invalid role specification
    ("0Z", OtherShape),    // diagnostics exception
    ("10", BadData),       // XQuery error
    ("20", OtherShape),    // case not found
    ("21", BadData),       // cardinality violation
    ("22", BadData),       // data exception
    ("23", BadData),       // integrity constraint violation
    ("24", NotNow),        // invalid cursor state
    ("25", NotNow),        // invalid transaction state: read-only, above all
    ("26", SharedSession), // invalid SQL statement name
    ("27", BadData),       // triggered data change violation
    ("28", NotNow),        // invalid authorization specification
    ("2B", OtherShape),    // dependent privilege descriptors still exist
    ("2D", NotNow),        // invalid transaction termination
    ("2F", OtherShape),    // SQL routine exception
    ("34", NotNow),        // invalid cursor name
    ("38", OtherShape),    // external routine exception
    ("39", OtherShape),    // external routine invocation exception
    ("3B", NotNow),        // savepoint exception
    ("3D", OtherShape),    // invalid catalog name
    ("3F", OtherShape),    // invalid schema name
    ("40", InTheWay),      // transaction rollback: serialization failure, deadlock
    ("42", OtherShape),    // syntax error or access rule violation: no such table or column, no privilege
    ("44", BadData),       // WITH CHECK OPTION violation
    ("53", NotNow),        // insufficient resources: disk, connections
    ("54", BadData),       // program limit exceeded: too long for an index
    ("55", NotNow),        // object not in prerequisite state
    ("57", NotNow),        // operator intervention: shutdown, crash, starting up
    ("58", NotNow),        // system error
    ("72", NotNow),        // snapshot failure
    ("F0", NotNow),        // configuration file error
    ("HV", NotNow),        // foreign data wrapper error
    ("P0", OtherShape),    // PL/pgSQL error
    ("XX", NotNow),        // internal error
];

impl Means {
    /// The meaning of an SQLSTATE; `NotNow` for an unknown class.
    fn of_code(code: &str) -> Self {
        let known = CODES.iter().find(|(known, _)| *known == code);
        let class = || CLASSES.iter().find(|(class, _)| code.starts_with(class));
        known.or_else(class).map_or(NotNow, |(_, means)| *means)
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let Some(code) = error.code() else { return NotNow };
        let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
        if routine.is_some_and(|routine| (&*code, routine) == OUTDATED) {
            Outdated
        } else {
            Self::of_code(&code)
        }
    }

    /// What an operator can do about an error that waiting does not resolve.
    pub fn way_on(self) -> Option<&'static str> {
        match self {
            OtherShape => Some(
                "the database is not as this build needs it; run `millrace setup` of this release, or restore what is missing",
            ),
            SharedSession => Some(
                "a pooler between here and Postgres does not hand sessions through as they are; let it pool sessions and pass \
                 `options` on, or connect to Postgres itself",
            ),
            BadData | InTheWay | TooMuch | Outdated | NotNow => None,
        }
    }

    /// The meaning of an error of Postgres or of its client. A value that cannot be encoded or decoded is `BadData`; a missing
    /// column is `OtherShape`.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => Self::of_database(&**database),
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => BadData,
            sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. } => OtherShape,
            _ => NotNow,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_is_listed_once() {
        let classes: BTreeSet<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes.len(), CLASSES.len());
        assert!(CODES.iter().all(|(code, means)| classes.contains(&code[..2]) && *means != class_of(code)));
    }

    fn class_of(code: &str) -> Means {
        Means::of_code(&format!("{}???", &code[..2]))
    }

    #[test]
    fn only_data_is_the_fault_of_a_record() {
        for (code, means) in [
            ("22021", BadData),       // character_not_in_repertoire
            ("23514", BadData),       // check_violation
            ("54000", BadData),       // an index row that is too long
            ("40001", InTheWay),      // serialization_failure
            ("40P01", InTheWay),      // deadlock_detected
            ("42P01", OtherShape),    // undefined_table
            ("42703", OtherShape),    // undefined_column
            ("42501", OtherShape),    // insufficient_privilege
            ("26000", SharedSession), // invalid_sql_statement_name
            ("08P01", SharedSession), // protocol_violation
            ("25006", NotNow),        // read_only_sql_transaction
            ("53100", NotNow),        // disk_full
            ("53300", NotNow),        // too_many_connections
            ("57P01", NotNow),        // admin_shutdown
            ("57P05", NotNow),        // idle_session_timeout
            ("08006", NotNow),        // connection_failure
            ("XX001", NotNow),        // data_corrupted
            ("ZZZZZ", NotNow),        // of a release that is not written yet
            ("", NotNow),
        ] {
            assert_eq!(Means::of_code(code), means, "{code}");
        }
        for (code, means) in CODES {
            assert_eq!(Means::of_code(code), means, "{code}");
        }
    }
}
