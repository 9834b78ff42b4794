//! External systems on loopback: a payment provider and a vendor of messages over HTTP, and a mail server, with the faults
//! that their settings name and a ledger of their own.
//!
//! A hash of the seed and the call's key decides what becomes of a call, so that a run can be repeated. What was authorised,
//! charged, refunded or received is in the ledger before the caller is answered; whether the callers have it right is seen
//! there.

mod behaviour;
mod books;
mod cli;
mod holds;
mod http;
mod ledger;
mod mail;
mod operation;
mod payments;
mod program;
mod serve;
mod vendor;
mod webhooks;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use behaviour::Behaviour;
pub use books::{
    Authorisation, Batch, Charge, Due, Entry, Mail, Message, MessageOutcome, Outcome, Refund, Release, Totals,
};
pub use ledger::LedgerError;
pub use program::main;
pub use webhooks::Webhooks;

use ledger::Ledger;
use world::World;

/// What is simulated, and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the payment provider listens; `None` for none.
    pub payments: Option<SocketAddr>,
    /// Where the mail server listens; `None` for none.
    pub mail: Option<SocketAddr>,
    /// Where the vendor of messages listens; `None` for none.
    pub vendor: Option<SocketAddr>,
    /// Where the payment provider sends its webhooks; `None` for nowhere.
    pub webhooks: Option<Webhooks>,
    /// The file that holds the ledger; made when it is not there.
    pub ledger: PathBuf,
    /// Whether it may listen elsewhere than on loopback.
    pub beyond_loopback: bool,
    /// Its faults.
    pub behaviour: Behaviour,
}

impl Settings {
    /// Every server on a free port of loopback, and no webhooks.
    pub fn on_loopback(ledger: PathBuf, behaviour: Behaviour) -> Self {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (payments, mail, vendor) = (any, any, any);
        Self { payments, mail, vendor, webhooks: None, ledger, beyond_loopback: false, behaviour }
    }
}

/// Why the simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that others could reach.
    #[error("{0} is not on loopback, and all who reach it can call it: use 127.0.0.1, or --beyond-loopback")]
    BeyondLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("{0} cannot be listened on: {1}; choose another port, 0 for any")]
    Address(SocketAddr, std::io::Error),
    /// Webhooks cannot be signed.
    #[error("the secret of the webhooks: {0}")]
    Secret(#[from] standardwebhooks::WebhookError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A running simulator.
#[derive(Debug)]
pub struct Simulator {
    /// Where the payment provider listens.
    pub payments: Option<SocketAddr>,
    /// Where the mail server listens.
    pub mail: Option<SocketAddr>,
    /// Where the vendor of messages listens.
    pub vendor: Option<SocketAddr>,
    servers: JoinSet<()>,
}

impl Simulator {
    /// Reads the ledger, listens, and serves until `stop`.
    ///
    /// # Errors
    /// [`StartError`]; nothing listens then.
    pub async fn start(settings: Settings, stop: CancellationToken) -> Result<Self, StartError> {
        let payments = listen(settings.payments, settings.beyond_loopback).await?;
        let mail = listen(settings.mail, settings.beyond_loopback).await?;
        let vendor = listen(settings.vendor, settings.beyond_loopback).await?;
        let webhooks =
            settings.webhooks.map(|webhooks| webhooks::sender(&webhooks, stop.clone())).transpose()?;
        let (webhooks, sending) = webhooks.unzip();
        let world = Arc::new(World::new(Ledger::open(&settings.ledger)?, settings.behaviour, webhooks));
        let address =
            |listener: &Option<TcpListener>| listener.as_ref().and_then(|one| one.local_addr().ok());
        let mut simulator = Self {
            payments: address(&payments),
            mail: address(&mail),
            vendor: address(&vendor),
            servers: JoinSet::new(),
        };
        if let Some(sending) = sending {
            simulator.servers.spawn(sending);
        }
        if let Some(listener) = payments {
            simulator.servers.spawn(payments::serve(listener, world.clone(), stop.clone()));
        }
        if let Some(listener) = mail {
            simulator.servers.spawn(mail::serve(listener, world.clone(), stop.clone()));
        }
        if let Some(listener) = vendor {
            simulator.servers.spawn(vendor::serve(listener, world, stop));
        }
        Ok(simulator)
    }

    /// Waits until everything has ended.
    pub async fn ended(mut self) {
        while let Some(ended) = self.servers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a simulated server ended badly");
            }
        }
    }
}

async fn listen(
    address: Option<SocketAddr>,
    beyond_loopback: bool,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    if !address.ip().is_loopback() && !beyond_loopback {
        return Err(StartError::BeyondLoopback(address));
    }
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|error| StartError::Address(address, error))
}
