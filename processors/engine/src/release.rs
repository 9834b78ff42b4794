//! Releases: which one this build is of, and what it does when it meets something of a later one.
//!
//! Several releases work side by side while one replaces the other. What an earlier build cannot understand may be of a
//! later one, and is then no fault of a record: the partition waits (`build-too-old`), and a member of an earlier build
//! leaves its group to those of later ones that are in it.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use millrace_store::deployed;
use rdkafka::groups::{GroupInfo, GroupList, GroupMemberInfo};
use sqlx::PgConnection;

use crate::error::{Fault, WorkError};
use crate::failpoints::other_release;
use crate::metrics;
use crate::offsets::Claim;

/// The number of this build's release. A build of a higher one may change what one of a lower one has set up, and not the other
/// way round. It grows by one with each release, here.
const RELEASE: i32 = 2;

/// What stands between the name of a client and its release.
const BEFORE_NUMBER: &str = "-r";

/// The number of this build's release, or what a story takes for another build's.
pub fn release() -> i32 {
    other_release().unwrap_or(RELEASE)
}

/// The later release that has set up the side of `connection` last, if one has.
///
/// # Errors
/// The database's.
pub async fn later(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    Ok(deployed::release(connection).await?.filter(|deployed| *deployed > release()))
}

/// Why this build goes no further, when a later release is deployed.
fn too_old(later: i32, what: &str) -> WorkError {
    WorkError::BuildTooOld(format!(
        "release {later} is deployed, and this build is of release {}: {what}",
        release()
    ))
}

/// Refuses to go on if a later release is deployed. Asked only when this build has met what it does not understand.
///
/// # Errors
/// [`WorkError::BuildTooOld`].
pub(crate) async fn refuse_if_later(connection: &mut PgConnection, what: &str) -> Result<(), WorkError> {
    match later(connection).await? {
        Some(later) => Err(too_old(later, what)),
        None => Ok(()),
    }
}

/// As [`refuse_if_later`], when one of these faults is of what another build may understand.
pub(crate) async fn refuse_unknown<'f>(
    connection: &mut PgConnection,
    mut faults: impl Iterator<Item = &'f Fault>,
) -> Result<(), WorkError> {
    match faults.find(|fault| fault.unknown_here) {
        Some(fault) => refuse_if_later(connection, &fault.message).await,
        None => Ok(()),
    }
}

/// What follows from a fault of what is stored: data that this build refuses, or that a later one has written.
pub(crate) async fn of_stored(connection: &mut PgConnection, fault: &Fault) -> WorkError {
    let unknown = refuse_unknown(connection, std::iter::once(fault)).await;
    unknown.err().unwrap_or_else(|| WorkError::Refused(fault.message.clone().into()))
}

/// The id of a client, by which processes of other builds see what release it is of.
pub(crate) fn client_id(name: &str) -> String {
    format!("{name}{BEFORE_NUMBER}{}", release())
}

/// The release of a client, as its id says.
fn of_client(id: &str) -> Option<i32> {
    id.rsplit_once(BEFORE_NUMBER)?.1.parse().ok()
}

/// The highest release of members of groups, if that is a later one.
pub fn later_member(groups: &GroupList) -> Option<i32> {
    let members = groups.groups().iter().flat_map(GroupInfo::members);
    later_of(members.map(GroupMemberInfo::client_id), release())
}

fn later_of<'m>(clients: impl Iterator<Item = &'m str>, ours: i32) -> Option<i32> {
    clients.filter_map(of_client).max().filter(|highest| *highest > ours)
}

/// Partitions of this process that wait for a later build, and why.
static WAITING: LazyLock<Mutex<BTreeMap<String, String>>> = LazyLock::new(Mutex::default);

fn waiting() -> MutexGuard<'static, BTreeMap<String, String>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For people, what of this process's waits for a later build, and why.
pub fn too_old_for() -> Vec<String> {
    waiting().iter().map(|(place, why)| format!("{place}: build-too-old: {why}")).collect()
}

/// A partition that waits for a later build, until this is dropped.
pub(crate) struct Waits {
    place: String,
    labels: [String; 4],
}

impl Waits {
    /// Shown by `/readyz`, `/metrics` and `millrace status`.
    pub(crate) fn at(Claim { group, topic, partition, applied, .. }: &Claim, why: &str) -> Self {
        let place = format!("{} at {topic}[{partition}]", group.own_name());
        waiting().insert(place.clone(), format!("{why} (offset {applied})"));
        let labels = [group.id.clone(), group.generation.to_string(), topic.clone(), partition.to_string()];
        metrics::BUILD_TOO_OLD.with_label_values(&labels).set(1);
        Self { place, labels }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        waiting().remove(&self.place);
        // The generation may have been removed meanwhile.
        let _ = metrics::BUILD_TOO_OLD.remove_label_values(&self.labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_later_release_is_known_by_its_client() {
        assert_eq!(of_client(&client_id("millrace")), Some(release()));
        let later = |clients: &[&str]| later_of(clients.iter().copied(), 2);
        assert_eq!(later(&["millrace-r2", "shop-r1", "millrace", "kcat-rest", "-r"]), None);
        assert_eq!(later(&["millrace-r2", "my-rest-r4", "millrace-r3"]), Some(4));
    }
}
