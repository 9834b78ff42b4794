//! Releases: the number of this build's release, and what this build does with records and data of a later one.
//!
//! During an upgrade, processes of two releases work at the same time. What an earlier build does not know may be of the later
//! one. Then it is not a fault of the record: the partition waits (`build-too-old`), and a member of the earlier build leaves its
//! group once members of the later build are in it.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use millrace_store::deployed;
use rdkafka::groups::{GroupInfo, GroupList, GroupMemberInfo};
use sqlx::PgConnection;

use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism, other_release};
use crate::metrics;
use crate::offsets::Claim;

/// The number of this build's release; each release increases it by one. A build of a higher release may change what a lower one has
/// set up, and not the other way round.
const RELEASE: i32 = 2;

/// The text between a client's name and its release in the client id.
const BEFORE_NUMBER: &str = "-r";

/// The number of this build's release, or the one that a failpoint sets.
pub fn release() -> i32 {
    other_release().unwrap_or(RELEASE)
}

/// The release that has set up the database of `connection` last, if it is a later one.
///
/// # Errors
/// Database errors.
pub async fn later(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    Ok(deployed::release(connection).await?.filter(|deployed| *deployed > release()))
}

/// The error when a later release is deployed.
fn too_old(later: i32, what: &str) -> WorkError {
    WorkError::BuildTooOld(format!(
        "release {later} is deployed, and this build is of release {}: {what}",
        release()
    ))
}

/// An error if a later release is deployed. Checked only when this build has found data that it does not know.
///
/// # Errors
/// [`WorkError::BuildTooOld`].
pub(crate) async fn refuse_if_later(connection: &mut PgConnection, what: &str) -> Result<(), WorkError> {
    match later(connection).await? {
        Some(later) if !broken(mechanism::BUILD_TOO_OLD) => Err(too_old(later, what)),
        _ => Ok(()),
    }
}

/// As [`refuse_if_later`], if one of these faults is about something that a later build may know.
pub(crate) async fn refuse_unknown<'f>(
    connection: &mut PgConnection,
    mut faults: impl Iterator<Item = &'f Fault>,
) -> Result<(), WorkError> {
    match faults.find(|fault| fault.unknown_here) {
        Some(fault) => refuse_if_later(connection, &fault.message).await,
        None => Ok(()),
    }
}

/// The error for stored data that this build cannot read: `BuildTooOld` if a later build may have written it, else `Refused`.
pub(crate) async fn of_stored(connection: &mut PgConnection, fault: &Fault) -> WorkError {
    let unknown = refuse_unknown(connection, std::iter::once(fault)).await;
    unknown.err().unwrap_or_else(|| WorkError::Refused(fault.message.clone().into()))
}

/// A client id that includes the release, so that processes of other builds can see it.
pub(crate) fn client_id(name: &str) -> String {
    format!("{name}{BEFORE_NUMBER}{}", release())
}

/// The release in a client id.
fn of_client(id: &str) -> Option<i32> {
    id.rsplit_once(BEFORE_NUMBER)?.1.parse().ok()
}

/// The highest release among the members of groups, if it is later than this build's.
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

/// Texts for people: the partitions of this process that wait for a later build, and why.
pub fn too_old_for() -> Vec<String> {
    waiting().iter().map(|(place, why)| format!("{place}: build-too-old: {why}")).collect()
}

/// Marks a partition as waiting for a later build until this is dropped.
pub(crate) struct Waits {
    place: String,
    labels: [String; 4],
}

impl Waits {
    /// Marks a partition; `/readyz`, `/metrics` and `millrace status` show it.
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
