//! A rule has one meaning: what is judged in memory is what Postgres says, whatever the rule and the customer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_domain::segments::{Channel, Facts, Query, Rule, Sql, audience, condition, holds, parse};
use millrace_domain::views::customers::{CustomerRow, Money, Wanted};
use millrace_ops::read_side;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{beside_others, instance_with};

const CUSTOMERS: usize = 200;
const RULES: usize = 400;
const DEPTH: usize = 5;
const COUNTRIES: [&str; 4] = ["Mexico", "Chad", "Côte d'Ivoire", "%"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];
const TAGS: [&str; 4] = ["vip", "new", "\"quoted\"", "back\\slash"];
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_means_the_same_in_memory_and_in_postgres() {
    let _turn = beside_others().await;
    let seed = std::env::var("STORY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("STORY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let instance = instance_with("segments", &[("contexts", r#"["customers"]"#)]).await;
    let pool = &instance.read;
    let customers: Vec<Customer> = (0..CUSTOMERS).map(|i| Customer::any(i, &mut random)).collect();
    insert(pool, &customers).await;
    let mut taken = 0;
    for _ in 0..RULES {
        let text = any_rule(&mut random, DEPTH).to_string();
        let rule = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        taken += agreed(pool, &customers, &rule, &text).await;
        pages_are_the_audience(pool, &customers, &rule, &text).await;
    }
    let share = taken * 100 / (RULES * CUSTOMERS);
    assert!((5..95).contains(&share), "the rules take some and leave some: {share} %");
}

/// How many customers both take.
async fn agreed(pool: &PgPool, customers: &[Customer], rule: &Rule, text: &str) -> usize {
    let Sql { text: condition, parameters } = condition(rule, as_of());
    let sql = Sql { text: format!("SELECT customer_id FROM customers WHERE {condition}"), parameters };
    let found: Vec<String> = read_side::value(sql)
        .expect("parameters")
        .fetch_all(pool)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"));
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let held = customers.iter().filter(|customer| holds(rule, &customer.facts, as_of()));
    let held: BTreeSet<&str> = held.map(|customer| customer.id.as_str()).collect();
    assert_eq!(found, held, "{text}");
    held.len()
}

/// Page by page each customer of the audience comes once, and the count says how many.
async fn pages_are_the_audience(pool: &PgPool, customers: &[Customer], rule: &Rule, text: &str) {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = audience(rule, Channel::Email, as_of(), Query::Next { after: &after, most: 70 });
        let page = read_side::customers(page).expect("parameters").fetch_all(pool).await.expect("a page");
        let Some(last) = page.last() else { break };
        after.clone_from(&last.0);
        found.extend(page.into_iter().map(|row| row.0));
    }
    let count = audience(rule, Channel::Email, as_of(), Query::Count);
    let count: i64 = read_side::value(count).expect("parameters").fetch_one(pool).await.expect("a count");
    assert_eq!(count, found.len() as i64, "{text}");
    let reached =
        customers.iter().filter(|customer| customer.reached() && holds(rule, &customer.facts, as_of()));
    let reached: BTreeSet<&str> = reached.map(|customer| customer.id.as_str()).collect();
    let once: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!((once.len(), once), (found.len(), reached), "{text}");
}

/// A customer of whom anything may be missing.
struct Customer {
    id: String,
    facts: Facts,
    email: Option<String>,
    wanted: bool,
}

impl Customer {
    fn any(number: usize, random: &mut fastrand::Rng) -> Self {
        let some = |random: &mut fastrand::Rng| random.u8(..4) > 0;
        let spend = CURRENCIES.iter().filter_map(|one| {
            let amount = any_amount(random);
            random.bool().then(|| (one.to_string(), amount))
        });
        let spend: BTreeMap<String, i64> = spend.collect();
        let facts = Facts {
            spend,
            orders: random.i64(0..4),
            last_order_at: some(random).then(|| any_moment(random)),
            country: some(random).then(|| COUNTRIES[random.usize(..COUNTRIES.len())].to_owned()),
            tags: TAGS.iter().filter(|_| random.u8(..3) == 0).map(ToString::to_string).collect(),
        };
        let id = format!("c{number}");
        let email = some(random).then(|| format!("{id}@example.com"));
        Self { id, facts, email, wanted: some(random) }
    }

    fn reached(&self) -> bool {
        self.email.is_some() && self.wanted
    }

    /// As the view has it.
    fn row(&self) -> Value {
        let Facts { spend, orders, last_order_at, country, tags } = &self.facts;
        let money =
            |(currency, amount): (&String, &i64)| Money { currency: currency.clone(), amount: *amount };
        let row = CustomerRow {
            customer_id: self.id.clone(),
            name: Some("Ana".to_owned()),
            email: self.email.clone(),
            country: country.clone(),
            order_count: *orders,
            order_value: spend.iter().map(money).collect(),
            last_order_at: *last_order_at,
            tags: tags.clone(),
            notifications_wanted: Wanted(self.wanted),
            ..CustomerRow::default()
        };
        let mut row = json!(row);
        row["version"] = 1.into();
        row["updated_at"] = json!(as_of());
        row
    }
}

async fn insert(pool: &PgPool, customers: &[Customer]) {
    let rows: Vec<Value> = customers.iter().map(Customer::row).collect();
    let insert = "INSERT INTO customers_g1 SELECT * FROM jsonb_populate_recordset(NULL::customers_g1, $1)";
    sqlx::query(insert).bind(Value::from(rows)).execute(pool).await.expect("customers");
}

fn as_of() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time")
}

/// Few values, so that rules and customers meet at them.
fn any_amount(random: &mut fastrand::Rng) -> i64 {
    [0, 1, 500, 501, 1_000_000_000_000][random.usize(..5)]
}

/// Often exactly some days before, or a microsecond beside that; sometimes later.
fn any_moment(random: &mut fastrand::Rng) -> DateTime<Utc> {
    as_of() - TimeDelta::days(random.i64(-1..4)) + TimeDelta::microseconds(random.i64(-1..=1))
}

fn any_rule(random: &mut fastrand::Rng, depth: usize) -> Value {
    let several = |random: &mut fastrand::Rng| -> Vec<Value> {
        (0..random.usize(1..4)).map(|_| any_rule(random, depth - 1)).collect()
    };
    match random.u8(..7) {
        0 | 1 if depth > 1 => json!({"all": several(random)}),
        2 | 3 if depth > 1 => json!({"any": several(random)}),
        4 if depth > 1 => json!({"not": any_rule(random, depth - 1)}),
        _ => any_fact(random),
    }
}

fn any_fact(random: &mut fastrand::Rng) -> Value {
    let is = ["=", "!=", "<", "<=", ">", ">="][random.usize(..6)];
    let country = COUNTRIES[random.usize(..COUNTRIES.len())];
    match random.u8(..6) {
        0 => {
            let currency = CURRENCIES[random.usize(..CURRENCIES.len())];
            json!({"fact": "spend", "currency": currency, "is": is, "value": any_amount(random)})
        }
        1 => json!({"fact": "orders", "is": is, "value": random.i64(0..4)}),
        2 => json!({"fact": "days_since_last_order", "is": is, "value": random.i64(0..4)}),
        3 => {
            let is = if random.bool() { "=" } else { "!=" };
            json!({"fact": "country", "is": is, "value": country})
        }
        4 => json!({"fact": "country", "is": "in", "value": [country, "Nowhere"]}),
        _ => {
            let tag = TAGS[random.usize(..TAGS.len())];
            json!({"fact": "tags", "is": "has", "value": tag})
        }
    }
}
