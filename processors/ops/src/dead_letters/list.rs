//! A list of dead letters.

use millrace_store::dead_letter::First;

use super::filter;
use super::letter::{Letter, Status};
use super::tables::{Filters, Tables};
use crate::config::Config;
use crate::failure::Failure;
use crate::page::{Page, one_more};

/// The newest letters of both sides that match; of every status if `status` is `None`.
///
/// # Errors
/// [`Failure::Usage`] for a group or a topic that does not exist, [`Failure::NotFound`] for a code or a key that no letter
/// has; when a database does not answer.
pub async fn list(
    config: &Config,
    filters: &Filters,
    status: Option<Status>,
    limit: i64,
) -> Result<Page<Letter>, Failure> {
    let tables = Tables::of(config)?;
    filter::check(config, &tables, filters).await?;
    let found = tables.fitting(filters, status, First::Newest, one_more(limit)).await?;
    Ok(Page::of(found, limit))
}
