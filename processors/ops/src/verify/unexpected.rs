//! Records on event topics that differ from the outbox's event in their place.

use millrace_store::outbox;
use sqlx::PgConnection;

use super::expected::Unexpected;

/// Records of a query.
const UNEXPECTED_AT_ONCE: usize = 500;

/// Records with a version of the outbox but another id or payload, with the id in the outbox.
pub(super) async fn in_the_place_of_events(
    connection: &mut PgConnection,
    unexpected: &[&Unexpected],
) -> sqlx::Result<Vec<(Unexpected, String)>> {
    let mut found = Vec::new();
    for some in unexpected.chunks(UNEXPECTED_AT_ONCE) {
        let wanted: Vec<(&str, String, i64)> = some.iter().map(|unexpected| wanted(unexpected)).collect();
        for (number, id, print) in outbox::prints_at(connection, &wanted).await? {
            let unexpected = usize::try_from(number - 1).ok().and_then(|place| some.get(place));
            // Otherwise the outbox did not have it yet at the start.
            found.extend(
                unexpected
                    .filter(|unexpected| unexpected.print != print)
                    .map(|unexpected| ((*unexpected).clone(), id)),
            );
        }
    }
    found.sort_by(|(a, _), (b, _)| {
        (&a.context, &a.stream, a.version).cmp(&(&b.context, &b.stream, b.version))
    });
    Ok(found)
}

/// A text of Postgres cannot contain NUL.
fn wanted(unexpected: &Unexpected) -> (&str, String, i64) {
    (&unexpected.context, unexpected.stream.replace('\0', ""), unexpected.version)
}
