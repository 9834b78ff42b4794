//! Retries of records that failed and may still succeed.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::units::Human;

/// Retries of one record, at most. Each retry has its own topic for every group and topic.
const RETRIES_MAX: usize = 10;

/// When a record is retried.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Retries {
    /// The delay before each retry of a failed record. The number of delays is the number of retries, at most ten.
    #[serde_as(as = "Vec<Human>")]
    pub delays: Vec<Duration>,
    /// Delays of single groups, by role: `{orders = ["500ms", "5s"]}`.
    #[serde_as(as = "HashMap<_, Vec<Human>>")]
    pub groups: HashMap<String, Vec<Duration>>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { delays: [1, 10, 60].map(Duration::from_secs).to_vec(), groups: HashMap::new() }
    }
}

impl Retries {
    /// The delays before the retries of a role's records.
    pub fn of(&self, role: &str) -> &[Duration] {
        self.groups.get(role).unwrap_or(&self.delays)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|(role, delays)| (format!("retries.groups.{role}"), delays));
        let all = groups.chain([("retries.delays".to_owned(), &self.delays)]);
        let too_many = all.filter(|(_, delays)| delays.len() > RETRIES_MAX);
        let problem = |(name, delays): (String, &Vec<Duration>)| {
            let count = delays.len();
            format!(
                "{name} has {count} delays: at most {RETRIES_MAX} are allowed, since each needs its own topics"
            )
        };
        too_many.map(problem).collect()
    }
}
