//! What there is to read, and the commands that arrive meanwhile: new customers, deposits, other prices, a third each.

use std::time::Instant;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use millrace_schemas::accounts::{Command as Accounts, DepositMoney};
use millrace_schemas::catalog::{ChangePrice, Command as Catalog};
use rdkafka::producer::FutureProducer;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::cli::Reading;
use crate::instance::Instance;
use crate::latency::probe::{Sent, microseconds};
use crate::load::{Step, customers, id, intended};
use crate::preload::{self, Encoder, Outgoing};

const CUSTOMERS: u64 = 2_000;
const PRODUCTS: u64 = 1_000;
const ACCOUNTS: u64 = 200;
/// Of each account.
const DEPOSITS: u64 = 20;
const WORDS: [&str; 8] = ["green", "black", "smoked", "dried", "fine", "coarse", "sweet", "old"];
const GOODS: [&str; 5] = ["tea", "pepper", "salt", "cheese", "biscuits"];
const WHEN: &str = "2026-01-01T00:00:00Z";

/// The id of one of the customers that are there.
pub(super) fn customer(number: u64) -> String {
    format!("reader-{}", number % CUSTOMERS)
}

/// The id of one of the accounts that are there.
pub(super) fn account(number: u64) -> String {
    format!("ACCOUNT{}", number % ACCOUNTS)
}

/// Words of the names of many products.
pub(super) fn product_name(number: u64) -> String {
    let word = |words: &[&str], number: u64| {
        let place = usize::try_from(number).unwrap_or(0) % words.len();
        words.get(place).copied().unwrap_or_default().to_owned()
    };
    format!("{} {}", word(&WORDS, number), word(&GOODS, number / 8))
}

/// Puts there what can be read, through the front door.
pub(super) async fn prepare(instance: &Instance) -> Result<()> {
    let customers = (0..CUSTOMERS).map(|number| {
        let (name, email) = (format!("Customer {number}"), format!("reader.{number}@example.com"));
        let data =
            json!({"customer_id": customer(number), "name": name, "email": email, "country": "Germany"});
        line("RegisterCustomer", data)
    });
    let products = (0..PRODUCTS).map(|number| {
        let name = format!("{} no. {number}", product_name(number));
        let data = json!({"product_id": product(number), "name": name, "category": "Groceries", "price": 250, "currency": "USD"});
        line("AddProduct", data)
    });
    send(instance, customers.chain(products)).await?;
    let accounts = (0..ACCOUNTS).map(|number| {
        let data = json!({
            "account_id": account(number), "customer_id": customer(number), "kind": "current", "currency": "EUR",
            "initial_balance": 0, "overdraft": 0, "opened_at": WHEN,
        });
        line("OpenAccount", data)
    });
    send(instance, accounts).await?;
    let deposits = (0..ACCOUNTS * DEPOSITS).map(|number| {
        let data = json!({
            "account_id": account(number), "transaction_id": format!("first-{number}"), "amount": 100, "currency": "EUR",
            "text": "by hand", "booked_at": WHEN,
        });
        line("DepositMoney", data)
    });
    send(instance, deposits).await?;
    instance.millrace(&["status", "--wait", "10m"]).await
}

fn product(number: u64) -> String {
    format!("product-{}", number % PRODUCTS)
}

fn line(type_: &str, data: Value) -> String {
    json!({"type": type_, "data": data}).to_string()
}

async fn send(instance: &Instance, lines: impl Iterator<Item = String>) -> Result<()> {
    let file = instance.file("commands.jsonl");
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
    let path = file.to_str().ok_or_else(|| anyhow!("{} is no text", file.display()))?;
    instance.millrace(&["send", path, "--wait", "--timeout", "300s"]).await
}

/// Lets commands arrive at the pace of the options; probes are told of each new customer. Returns how late each
/// command was handed to Kafka's client.
pub(super) async fn arrive(
    instance: &Instance,
    options: &Reading,
    probes: [UnboundedSender<Sent>; 2],
) -> Result<Histogram<u64>> {
    let encoder = Encoder::new(&instance.stack).learn("RegisterCustomer").await?;
    let encoder = encoder.learn("DepositMoney").await?.learn("ChangePrice").await?;
    let mut config = instance.stack.producer();
    let producer: FutureProducer = config.set("linger.ms", "0").create()?;
    let (mut late, mut deliveries) = (Histogram::new(3)?, Vec::new());
    let (quiet, all) = (options.rate * options.warm_up, options.rate * (options.warm_up + options.seconds));
    let began = Instant::now();
    for number in 0..all {
        let arriving = Arriving::of(u64::from(number));
        let (topic, outgoing) = (instance.topic("cmd", arriving.context()), arriving.encoded(&encoder)?);
        let intended = intended(began, number, options.rate);
        tokio::time::sleep_until(intended.into()).await;
        if let Arriving::Customer(step) = arriving {
            let (customer, counts) = (customers::customer(step), number >= quiet);
            let sent = Sent { customer, intended, counts, place: (0, 0) };
            for probe in &probes {
                probe.send(sent.clone()).map_err(|_| anyhow!("a probe has failed"))?;
            }
        }
        deliveries.push(preload::produce(&producer, &topic, &outgoing)?);
        late.record(microseconds(intended.elapsed()))?;
    }
    for delivery in deliveries {
        delivery.await?.map_err(|(error, _)| error)?;
    }
    Ok(late)
}

/// A command that arrives.
enum Arriving {
    Customer(Step),
    Deposit(u64),
    Price(u64),
}

impl Arriving {
    fn of(number: u64) -> Self {
        match number % 3 {
            0 => Self::Customer(Step { stream: number, version: 1 }),
            1 => Self::Deposit(number),
            _ => Self::Price(number),
        }
    }

    fn context(&self) -> &'static str {
        match self {
            Self::Customer(_) => "customers",
            Self::Deposit(_) => "accounts",
            Self::Price(_) => "catalog",
        }
    }

    fn encoded(&self, encoder: &Encoder<'_>) -> Result<Outgoing> {
        match self {
            Self::Customer(step) => preload::customer_command(encoder, *step),
            Self::Deposit(number) => {
                let command: Accounts = DepositMoney {
                    account_id: account(*number),
                    transaction_id: format!("t-{number}"),
                    amount: 1,
                    currency: "EUR".to_owned(),
                    text: "under load".to_owned(),
                    booked_at: 1_767_225_600_000_000,
                }
                .into();
                preload::command(encoder, &command, id("DepositMoney", *number), WHEN.to_owned())
            }
            Self::Price(number) => {
                let price = 100 + i64::try_from(number % 900)?;
                let command: Catalog = ChangePrice { product_id: product(*number), price }.into();
                preload::command(encoder, &command, id("ChangePrice", *number), WHEN.to_owned())
            }
        }
    }
}
