//! Records on the topics of events that are not what the outbox has in their place.

use millrace_store::outbox;
use sqlx::PgConnection;

use super::expected::Unexpected;

/// Records that are looked at closer at a time.
const UNEXPECTED_AT_ONCE: usize = 500;

/// Records that have a version of the outbox, and not its id and payload; with the id that the outbox has there.
pub(super) async fn in_the_place_of_events(
    connection: &mut PgConnection,
    unexpected: &[&Unexpected],
) -> sqlx::Result<Vec<(Unexpected, String)>> {
    let mut found = Vec::new();
    for some in unexpected.chunks(UNEXPECTED_AT_ONCE) {
        let wanted: Vec<(&str, String, i64)> = some.iter().map(|unexpected| wanted(unexpected)).collect();
        for (number, id, print) in outbox::prints_at(connection, &wanted).await? {
            let unexpected = usize::try_from(number - 1).ok().and_then(|place| some.get(place));
            // Else the outbox did not have it yet when we began.
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

/// Texts of Postgres have no zero.
fn wanted(unexpected: &Unexpected) -> (&str, String, i64) {
    (&unexpected.context, unexpected.stream.replace('\0', ""), unexpected.version)
}
