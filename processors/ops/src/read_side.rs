//! Queries over views of the read side, which the domain has compiled to SQL with parameters.

use millrace_domain::effects::audience::Customer;
use millrace_domain::segments::{Parameter, Sql};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::{QueryAs, QueryScalar};
use sqlx::{Arguments as _, AssertSqlSafe};

/// A row of the audience's query.
pub type CustomerRow = (String, String, Option<String>, String);

/// The query of customers.
///
/// # Errors
/// When a parameter cannot be encoded.
pub fn customers(sql: Sql) -> Result<QueryAs<'static, Postgres, CustomerRow, PgArguments>, sqlx::Error> {
    let arguments = arguments(sql.parameters)?;
    Ok(sqlx::query_as_with(AssertSqlSafe(sql.text), arguments))
}

/// A query of one value, such as a count.
///
/// # Errors
/// As [`customers`].
pub fn value<T>(sql: Sql) -> Result<QueryScalar<'static, Postgres, T, PgArguments>, sqlx::Error>
where
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
{
    let arguments = arguments(sql.parameters)?;
    Ok(sqlx::query_scalar_with(AssertSqlSafe(sql.text), arguments))
}

fn arguments(parameters: Vec<Parameter>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        let added = match parameter {
            Parameter::Text(text) => arguments.add(text),
            Parameter::Texts(texts) => arguments.add(texts),
            Parameter::Integer(number) => arguments.add(number),
            Parameter::Time(time) => arguments.add(time),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A customer of an audience.
pub fn customer((customer_id, name, contact_name, address): CustomerRow) -> Customer {
    Customer { customer_id, name, contact_name, address }
}
