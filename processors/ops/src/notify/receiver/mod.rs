//! Who is told: a receiver over HTTP, and a person by mail.
//!
//! Something is told when one of them has taken it. What another one has not taken yet it gets later, in order, unless the process
//! ends first.

mod http;
mod mail;

use std::collections::VecDeque;

use async_trait::async_trait;
use millrace_engine::metrics;
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;

/// Messages that a receiver has not taken, at most; the oldest are given up.
const OWED_MAX: usize = 20;

/// Takes messages.
#[async_trait]
trait Receiver: Send + Sync {
    /// The setting that names it.
    fn setting(&self) -> &'static str;

    /// Sends a message; the error is for the log, and has no secret.
    async fn send(&self, message: &Value) -> Result<(), String>;
}

struct Told {
    receiver: Box<dyn Receiver>,
    /// What others have taken, and this one has not.
    owed: VecDeque<Value>,
    /// Whether the last message was not taken.
    fails: bool,
}

/// All that are told.
pub(super) struct Receivers(Vec<Told>);

impl Receivers {
    /// The configured ones; `None` without any.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a setting cannot be used; when TLS cannot be set up.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Failure> {
        let http = http::Http::new(&config.notify)?.map(|http| Box::new(http) as Box<dyn Receiver>);
        let mail = mail::Mail::new(config)?.map(|mail| Box::new(mail) as Box<dyn Receiver>);
        let all = [http, mail].into_iter().flatten();
        let all: Vec<Told> =
            all.map(|receiver| Told { receiver, owed: VecDeque::new(), fails: false }).collect();
        Ok((!all.is_empty()).then_some(Self(all)))
    }

    /// Sends a message to all; whether one of them has taken it.
    pub(super) async fn send(&mut self, message: &Value) -> bool {
        let mut taken = Vec::with_capacity(self.0.len());
        for told in &mut self.0 {
            taken.push(told.owing_nothing().await && told.takes(message).await);
        }
        let any = taken.contains(&true);
        for (told, _) in self.0.iter_mut().zip(taken).filter(|(_, taken)| any && !taken) {
            told.owe(message.clone());
        }
        any
    }

    /// Sends again what some have not taken.
    pub(super) async fn catch_up(&mut self) {
        for told in &mut self.0 {
            told.owing_nothing().await;
        }
    }
}

impl Told {
    fn owe(&mut self, message: Value) {
        if self.owed.len() >= OWED_MAX {
            tracing::warn!(setting = self.receiver.setting(), "a notification is given up");
            self.owed.pop_front();
        }
        self.owed.push_back(message);
    }

    /// Whether it has taken everything that it was owed.
    async fn owing_nothing(&mut self) -> bool {
        while let Some(oldest) = self.owed.front().cloned() {
            if !self.takes(&oldest).await {
                return false;
            }
            self.owed.pop_front();
        }
        true
    }

    async fn takes(&mut self, message: &Value) -> bool {
        let sent = self.receiver.send(message).await;
        let (setting, outcome) = (self.receiver.setting(), if sent.is_ok() { "taken" } else { "failed" });
        metrics::NOTIFICATIONS.with_label_values(&[outcome]).inc();
        let failed = std::mem::replace(&mut self.fails, sent.is_err());
        match &sent {
            Err(why) if !failed => {
                tracing::warn!(setting, why, "a notification is not taken; it is sent again");
            }
            Ok(()) if failed => tracing::info!(setting, "notifications are taken again"),
            _ => {}
        }
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// Takes messages while it is told to.
    #[derive(Clone, Default)]
    struct Moody(Arc<Mutex<(bool, Vec<Value>)>>);

    #[async_trait]
    impl Receiver for Moody {
        fn setting(&self) -> &'static str {
            "moody"
        }

        async fn send(&self, message: &Value) -> Result<(), String> {
            let mut state = self.0.lock().unwrap();
            if !state.0 {
                return Err("no".to_owned());
            }
            state.1.push(message.clone());
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_receiver_gets_each_message_once_and_in_order_whichever_fails() {
        let [one, other] = [Moody::default(), Moody::default()];
        let told = |receiver: &Moody| Told {
            receiver: Box::new(receiver.clone()),
            owed: VecDeque::new(),
            fails: false,
        };
        let mut all = Receivers(vec![told(&one), told(&other)]);
        assert!(!all.send(&json!(0)).await, "none has taken it");
        one.0.lock().unwrap().0 = true;
        assert!(all.send(&json!(1)).await && all.send(&json!(2)).await);
        other.0.lock().unwrap().0 = true;
        all.catch_up().await;
        assert!(all.send(&json!(3)).await);
        for receiver in [&one, &other] {
            assert_eq!(receiver.0.lock().unwrap().1, [json!(1), json!(2), json!(3)]);
        }
    }
}
