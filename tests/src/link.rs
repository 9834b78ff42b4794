//! A proxy between a process and a component that injects network faults.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::stack::stack;

const KAFKA: &str = "KAFKA_BROKERS";
/// What is carried at once; a slow link waits before each.
const CHUNK: usize = 8 << 10;

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It forwards everything at once.
    Well,
    /// Every connection is closed, new ones too.
    Cut,
    /// Connections stay open, and everything that is sent is dropped. Such a connection stays broken when the link works again:
    /// its client waits for ever.
    Silent,
    /// This delay for each 8 KB in each direction.
    Slow(Duration),
}

/// A link to a component: a process with its environment variable reaches the component through it.
pub struct Link {
    variable: &'static str,
    address: String,
    state: watch::Sender<State>,
    listening: JoinHandle<()>,
}

impl Link {
    /// A link to the component in one of the stack's variables; it works at first.
    pub async fn to(variable: &'static str) -> Self {
        if variable == KAFKA {
            return Self::to_kafka().await;
        }
        Self::before(variable, stack().address(variable)).await
    }

    /// A link to what has this address, for the process's variable.
    pub async fn before(variable: &'static str, address: &str) -> Self {
        let component = host_and_port(address);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let here: SocketAddr = listener.local_addr().expect("its address");
        Self::of(variable, address.replace(&component, &here.to_string()), component, listener)
    }

    /// The broker advertises an address to clients: that of this link for clients that come through it. So there is one at a
    /// time.
    async fn to_kafka() -> Self {
        let [here, broker] = ["KAFKA_LINK", "KAFKA_BEHIND_LINK"].map(|name| stack().address(name));
        let listener = TcpListener::bind(here).await.expect("the port of Kafka's link");
        Self::of(KAFKA, here.to_owned(), broker.to_owned(), listener)
    }

    fn of(variable: &'static str, address: String, component: String, listener: TcpListener) -> Self {
        let (state, watched) = watch::channel(State::Well);
        Self { variable, address, state, listening: tokio::spawn(listen(listener, component, watched)) }
    }

    /// The environment variable that lets a process use this link.
    pub fn variable(&self) -> (&'static str, &str) {
        (self.variable, &self.address)
    }

    /// Sets the state of the link.
    pub fn becomes(&self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// The host and port in a URL or a plain address.
fn host_and_port(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}

async fn listen(listener: TcpListener, component: String, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connection(client, component.clone(), state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection from its beginning to its end; an error is an end like any other.
async fn connection(mut client: TcpStream, component: String, state: watch::Receiver<State>) {
    // Kept open until the client gives up, so that the component does not notice either.
    let mut server = None;
    if *state.borrow() != State::Silent {
        let Ok(connected) = TcpStream::connect(component).await else { return };
        let server = server.insert(connected);
        tokio::select! {
            biased;
            () = reaches(state.clone(), State::Cut) => return,
            () = reaches(state.clone(), State::Silent) => {}
            _ = carry_both_ways(&mut client, server, &state) => return,
        }
    }
    let _ = copy(&mut client, &mut sink()).await;
}

async fn reaches(mut state: watch::Receiver<State>, goal: State) {
    // Dropping the link closes its connections.
    let _ = state.wait_for(|state| *state == goal).await;
}

async fn carry_both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    state: &watch::Receiver<State>,
) -> io::Result<()> {
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::try_join!(carry(from_client, to_server, state), carry(from_server, to_client, state))?;
    Ok(())
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Receiver<State>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let bytes = from.read(&mut chunk).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        let slow = match *state.borrow() {
            State::Slow(delay) => delay,
            State::Well | State::Cut | State::Silent => Duration::ZERO,
        };
        tokio::time::sleep(slow).await;
        to.write_all(&chunk[..bytes]).await?;
    }
}
