//! The ledger of the simulated systems, and its sums.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// An authorisation was decided.
    Authorisation(Authorisation),
    /// A charge was decided: at once, or of authorised money.
    Charge(Charge),
    /// The release of an authorisation was decided.
    Release(Release),
    /// Money was refunded.
    Refund(Refund),
    /// A mail was taken.
    Mail(Mail),
    /// A batch of messages was accepted or not.
    Batch(Batch),
}

/// Money that a caller requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The customer.
    pub customer: String,
    /// The order.
    pub order: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// Money that is authorised, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorisation {
    /// The caller's key: there is one authorisation for each.
    pub key: String,
    /// The order.
    #[serde(flatten)]
    pub due: Due,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When.
    pub at: DateTime<Utc>,
}

/// An authorisation that is released, or was captured before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The caller's key: there is one release for each.
    pub key: String,
    /// The reference of the authorisation.
    pub authorisation: String,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When.
    pub at: DateTime<Utc>,
}

/// A charge that was captured or declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The caller's key: there is one charge for each.
    pub key: String,
    /// The order.
    #[serde(flatten)]
    pub due: Due,
    /// The reference of the authorisation whose money it takes; none when it is taken at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<String>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When.
    pub at: DateTime<Utc>,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The money is authorised.
    Authorised {
        /// The provider's reference.
        reference: String,
    },
    /// The money is captured.
    Captured {
        /// The provider's reference.
        reference: String,
    },
    /// The money is refunded.
    Refunded {
        /// The provider's reference.
        reference: String,
    },
    /// The authorisation is released.
    Released {
        /// The provider's reference.
        reference: String,
    },
    /// It is declined.
    Declined {
        /// A stable code for programs.
        code: String,
        /// For people.
        reason: String,
    },
}

/// Refunded money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The caller's key: there is one refund for each.
    pub key: String,
    /// The reference of its charge.
    pub charge: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// The provider's reference.
    pub reference: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// An accepted mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Its `Message-ID`, without brackets.
    pub message_id: Option<String>,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Messages that came in one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The caller's key: there is one batch for each.
    pub key: String,
    /// The messages, in the order in which they came.
    pub messages: Vec<Message>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A message that was to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What the caller calls it.
    pub id: String,
    /// Which of the caller's attempts this is.
    pub attempt: u32,
    /// Where it goes.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: MessageOutcome,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum MessageOutcome {
    /// It is on its way.
    Accepted {
        /// The vendor's name for it.
        reference: String,
    },
    /// It is not sent.
    Failed {
        /// Whether another attempt may do better.
        retryable: bool,
        /// For people.
        reason: String,
    },
}

/// The totals of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Captured money by currency, in minor units.
    pub captured: BTreeMap<String, i64>,
    /// Refunded money by currency, in minor units.
    pub refunded: BTreeMap<String, i64>,
    /// Authorisations that were given.
    #[serde(default)]
    pub authorisations: u64,
    /// Captured charges.
    pub charges: u64,
    /// Declined authorisations and charges.
    pub declined: u64,
    /// Authorisations whose money was released.
    #[serde(default)]
    pub releases: u64,
    /// Refunds.
    pub refunds: u64,
    /// Mails.
    pub mails: u64,
    /// Messages that were taken, each attempt.
    pub messages: u64,
    /// Messages that were not, each attempt.
    pub messages_failed: u64,
}

/// Everything that is asked of the ledger, in memory.
#[derive(Debug, Default)]
pub(crate) struct Books {
    authorisations: HashMap<String, Authorisation>,
    holds: HashMap<String, Hold>,
    releases: HashMap<String, Release>,
    charges: HashMap<String, Charge>,
    refunds: HashMap<String, Refund>,
    captured: HashMap<String, Captured>,
    batches: HashMap<String, Batch>,
    totals: Totals,
}

/// Money that was authorised, by the reference of its authorisation.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) authorisation: Authorisation,
    pub(crate) state: HoldState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldState {
    Open,
    Captured,
    Released,
}

/// A captured charge, by its reference.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) currency: String,
    /// What was not refunded yet.
    pub(crate) left: i64,
}

impl Books {
    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Authorisation(authorisation) => self.add_authorisation(authorisation),
            Entry::Charge(charge) => self.add_charge(charge),
            Entry::Release(release) => self.add_release(release),
            Entry::Refund(refund) => self.add_refund(refund),
            Entry::Mail(_) => self.totals.mails += 1,
            Entry::Batch(batch) => self.add_batch(batch),
        }
    }

    fn add_authorisation(&mut self, authorisation: Authorisation) {
        match &authorisation.outcome {
            Outcome::Authorised { reference } => {
                self.totals.authorisations += 1;
                let hold = Hold { authorisation: authorisation.clone(), state: HoldState::Open };
                self.holds.insert(reference.clone(), hold);
            }
            _ => self.totals.declined += 1,
        }
        self.authorisations.insert(authorisation.key.clone(), authorisation);
    }

    fn add_charge(&mut self, charge: Charge) {
        match &charge.outcome {
            Outcome::Captured { reference } => {
                self.totals.charges += 1;
                let Due { amount, currency, .. } = &charge.due;
                *self.totals.captured.entry(currency.clone()).or_default() += amount;
                let captured = Captured { currency: currency.clone(), left: *amount };
                self.captured.insert(reference.clone(), captured);
                self.settle(charge.authorisation.as_deref(), HoldState::Captured);
            }
            _ => self.totals.declined += 1,
        }
        self.charges.insert(charge.key.clone(), charge);
    }

    fn add_release(&mut self, release: Release) {
        if let Outcome::Released { .. } = &release.outcome {
            self.totals.releases += 1;
            self.settle(Some(&release.authorisation), HoldState::Released);
        }
        self.releases.insert(release.key.clone(), release);
    }

    fn settle(&mut self, authorisation: Option<&str>, state: HoldState) {
        if let Some(hold) = authorisation.and_then(|reference| self.holds.get_mut(reference)) {
            hold.state = state;
        }
    }

    fn add_refund(&mut self, refund: Refund) {
        self.totals.refunds += 1;
        *self.totals.refunded.entry(refund.currency.clone()).or_default() += refund.amount;
        if let Some(captured) = self.captured.get_mut(&refund.charge) {
            captured.left -= refund.amount;
        }
        self.refunds.insert(refund.key.clone(), refund);
    }

    /// What the messages say is in the file; here it would only take room.
    fn add_batch(&mut self, mut batch: Batch) {
        for message in &mut batch.messages {
            match &message.outcome {
                MessageOutcome::Accepted { .. } => self.totals.messages += 1,
                MessageOutcome::Failed { .. } => self.totals.messages_failed += 1,
            }
            (message.subject, message.text) = (String::new(), String::new());
        }
        self.batches.insert(batch.key.clone(), batch);
    }

    pub(crate) fn batch(&self, key: &str) -> Option<&Batch> {
        self.batches.get(key)
    }

    pub(crate) fn authorisation(&self, key: &str) -> Option<&Authorisation> {
        self.authorisations.get(key)
    }

    /// What was authorised under this reference.
    pub(crate) fn hold(&self, reference: &str) -> Option<&Hold> {
        self.holds.get(reference)
    }

    pub(crate) fn release(&self, key: &str) -> Option<&Release> {
        self.releases.get(key)
    }

    pub(crate) fn charge(&self, key: &str) -> Option<&Charge> {
        self.charges.get(key)
    }

    pub(crate) fn refund(&self, key: &str) -> Option<&Refund> {
        self.refunds.get(key)
    }

    /// The captured charge with this reference.
    pub(crate) fn captured(&self, reference: &str) -> Option<&Captured> {
        self.captured.get(reference)
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }
}
