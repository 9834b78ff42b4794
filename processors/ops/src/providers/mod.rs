//! The configured external systems: the provider of each effect.

mod audience;
pub(crate) mod mail;
mod payment;
mod service;
#[cfg(test)]
mod simulated;
mod vendor;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use millrace_domain::registry::{Visitor, visit};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_engine::effects::Provider;

pub use payment::Word;

use crate::config::Config;
use crate::failure::Failure;

/// The configured provider of each effect.
#[derive(Default)]
pub struct Providers(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Providers {
    /// Creates the clients, which connect when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the field.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let (mut providers, timeout) = (Self::default(), config.effects.call_timeout);
        if let Some(provider) = payment::PaymentProvider::new(&config.payment, timeout)? {
            providers.add(provider);
        }
        if let Some(provider) = mail::MailServer::new(&config.mail, timeout)? {
            providers.add(provider);
        }
        if let Some(provider) = vendor::Vendor::new(&config.vendor, timeout)? {
            providers.add(provider);
        }
        providers.add(audience::Audiences::new(config)?);
        Ok(providers)
    }

    fn add<E: Effect>(&mut self, provider: impl Provider<E>) {
        let provider: Arc<dyn Provider<E>> = Arc::new(provider);
        self.0.insert(TypeId::of::<E>(), Box::new(provider));
    }

    /// The effects without a configured provider.
    pub fn unable(&self) -> Vec<&'static str> {
        let mut unable = Unable { providers: self, found: Vec::new() };
        visit(&mut unable);
        unable.found
    }

    /// The provider that makes the calls of an effect; `None` when none is configured.
    pub fn of<E: Effect>(&self) -> Option<Arc<dyn Provider<E>>> {
        self.0.get(&TypeId::of::<E>())?.downcast_ref::<Arc<dyn Provider<E>>>().cloned()
    }
}

/// Finds the effects without a configured provider.
struct Unable<'p> {
    providers: &'p Providers,
    found: Vec<&'static str>,
}

impl Visitor for Unable<'_> {
    fn context<C: Context>(&mut self) {}
    fn view<V: View>(&mut self) {}
    fn tally<T: Tally>(&mut self) {}
    fn log<L: Log>(&mut self) {}
    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {
        if self.providers.of::<E>().is_none() {
            self.found.push(E::NAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_domain::effects::mail::Mail;
    use millrace_domain::effects::payment::Payment;

    use super::*;

    /// Which effects have a provider with this configuration.
    fn configured(set: &[&str]) -> Result<(bool, bool), String> {
        let config = Config::with(set).map_err(|error| error.to_string())?;
        let providers = Providers::new(&config).map_err(|error| error.to_string())?;
        Ok((providers.of::<Payment>().is_some(), providers.of::<Mail>().is_some()))
    }

    #[tokio::test]
    async fn an_effect_without_configuration_has_no_provider() {
        assert_eq!(configured(&[]), Ok((false, false)));
        assert_eq!(configured(&["payment.url=http://127.0.0.1:1"]), Ok((true, false)));
        let mail = ["mail.url=smtp://127.0.0.1:1", "mail.from=Shop <shop@example.com>"];
        assert_eq!(configured(&mail), Ok((false, true)));
    }

    #[tokio::test]
    async fn secrets_and_mails_go_unencrypted_only_to_this_machine() {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let url = format!("mail.url=smtp://{host}:1");
            assert_eq!(configured(&[&url, "mail.from=a@b.c"]), Ok((false, true)), "{host}");
        }
        let error = configured(&["mail.url=smtp://mail.example.com", "mail.from=a@b.c"]).unwrap_err();
        assert!(error.contains("mail.url") && error.contains("tls=required"), "{error}");
        for fine in ["smtps://mail.example.com", "smtp://mail.example.com?tls=required"] {
            assert_eq!(configured(&[&format!("mail.url={fine}"), "mail.from=a@b.c"]), Ok((false, true)));
        }
        let plain = "payment.url=http://pay.example.com";
        let error = configured(&[plain, "payment.token=s3cret"]).unwrap_err();
        assert!(error.contains("https://") && !error.contains("s3cret"), "{error}");
        assert!(configured(&["payment.url=https://pay.example.com"]).is_ok());
    }

    #[test]
    fn refusals_name_the_field_and_no_password() {
        let error = configured(&["mail.url=smtp://u:s3cret@127.0.0.1:1"]).unwrap_err();
        assert!(error.contains("mail.from") && !error.contains("s3cret"), "{error}");
        let error = configured(&["mail.url=http://u:s3cret@127.0.0.1", "mail.from=a@b.c"]).unwrap_err();
        assert!(error.contains("mail.url") && !error.contains("s3cret"), "{error}");
        let error = configured(&["mail.url=smtp://127.0.0.1", "mail.from=no-address"]).unwrap_err();
        assert!(error.contains("mail.from"), "{error}");
        let error = configured(&["payment.url=ftp://pay.example.com"]).unwrap_err();
        assert!(error.contains("payment.url"), "{error}");
    }
}
