//! Records with Millrace's own source that Millrace has not sent.

use millrace_tests::load::{order, product};
use millrace_tests::{Instance, Raw, becomes, kafka};
use serde_json::{Value, json};
use uuid::Uuid;

use super::history::History;
use super::{place, shop};
use crate::beside_others;

const RESERVE_STOCK: &str = "millrace.inventory.ReserveStock";
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE topic LIKE '%.cmd.inventory.v1'";

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_in_our_name_is_a_dead_letter_and_every_order_is_fulfilled() {
    let _turn = beside_others().await;
    let shop = shop("forged", &[], &[]).await;
    shop.stocked(1, &[50]).await;
    let instance = &shop.instance;
    let stock = instance.topic("cmd", "inventory");
    let garbage = Raw::value("?").key(order(2)).header("ce_id", coming(2)).header("ce_source", own(instance));
    let before = [
        in_our_name(instance, coming(0), "ReserveStock", &reservation(0, 9)).await,
        in_our_name(instance, coming(1), "ReserveStock", &reservation(1, 1)).await,
        garbage,
        // Another producer's own, whose id is that of a command of ours to come.
        Raw::command(&coming(3), "ReceiveStock", &json!({"product_id": product(0), "quantity": 1})).await,
    ];
    kafka::produce(&stock, None, &before).await;
    foreign_records(instance).await;
    let _process = shop.open();
    becomes(&instance.write, DEAD, 3).await;
    instance.send(&(0..4).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    becomes(&instance.write, "SELECT count(*) FROM saga WHERE standing = 'fulfilled'", 4).await;

    let ours = our_reservation(instance, 0).await;
    let mut loud = ours.clone();
    let id = loud.headers.iter_mut().find(|(name, _)| name == b"ce_id").expect("an id");
    id.1 = Some(coming(0).to_uppercase().into_bytes());
    let after = [ours, loud, in_our_name(instance, coming(1), "ReserveStock", &reservation(1, 2)).await];
    kafka::produce(&stock, None, &after).await;
    becomes(&instance.write, DEAD, 5).await;

    let codes = "SELECT code || ' ' || count(*) FROM dead_letter
                 WHERE topic LIKE '%.cmd.inventory.v1' GROUP BY code ORDER BY code";
    assert_eq!(texts(instance, codes).await, ["source-forged 4", "undecodable 1"]);
    let receipts = "SELECT status || ' ' || count(*) FROM command
                    WHERE type LIKE '%.ReserveStock' AND source LIKE '/%' GROUP BY status";
    assert_eq!(
        texts(instance, receipts).await,
        ["completed 4"],
        "nobody has a receipt in our name but ourselves"
    );
    let foreign = "SELECT substring(topic FROM '((?:evt|rej).[a-z]+)') || ' ' || code FROM dead_letter
                   WHERE grp LIKE '%.fulfilment' ORDER BY 1";
    let refused =
        ["evt.payments", "rej.inventory", "rej.orders"].map(|topic| format!("{topic} unknown-type"));
    assert_eq!(texts(instance, foreign).await, refused);
    History::read(&instance.write).await.assert_sound(&shop.outside);
}

/// Events and rejections on topics of other contexts than theirs.
async fn foreign_records(instance: &Instance) {
    let rejection = json!({
        "stream": order(0), "command_id": coming(0), "command_source": own(instance),
        "command_type": RESERVE_STOCK, "code": "stock-insufficient", "message": "a lie",
    });
    let event = |id: &str, raw: Raw| raw.header("ce_id", id).header("ce_sequence", "1");
    let confirmed = json!({"order_id": order(0), "customer_id": "nobody"});
    for (topic, raw) in [
        (instance.topic("evt", "payments"), event("1", Raw::of("OrderConfirmed", &confirmed).await)),
        (instance.topic("rej", "inventory"), event("2", Raw::of("OrderConfirmed", &confirmed).await)),
        (instance.topic("rej", "orders"), Raw::of("CommandRejected", &rejection).await.header("ce_id", "3")),
    ] {
        kafka::produce(&topic, None, &[raw]).await;
    }
}

/// The id of the first reservation of an order's saga: all that goes into it is public.
fn coming(i: usize) -> String {
    const SAGAS: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8000_0000_0000_0002);
    let name = ["fulfilment", &order(i), RESERVE_STOCK, "0"].join("\0");
    Uuid::new_v5(&SAGAS, name.as_bytes()).to_string()
}

fn own(instance: &Instance) -> String {
    format!("/{}", instance.name)
}

fn reservation(i: usize, quantity: i64) -> Value {
    json!({"reservation_id": order(i), "lines": [{"product_id": product(0), "quantity": quantity}]})
}

async fn in_our_name(instance: &Instance, id: String, name: &str, data: &Value) -> Raw {
    Raw::of(name, data).await.header("ce_id", id).header("ce_source", own(instance))
}

/// The command as Debezium has carried it.
async fn our_reservation(instance: &Instance, i: usize) -> Raw {
    let sent = "SELECT payload FROM outbox WHERE id::text = $1";
    let sent: Vec<u8> =
        sqlx::query_scalar(sent).bind(coming(i)).fetch_one(&instance.write).await.expect("the outbox");
    let carried =
        instance.kafka.all(&instance.topic("cmd", "inventory")).into_iter().map(|placed| placed.raw);
    let mut ours = carried.filter(|raw| raw.value.as_ref() == Some(&sent));
    ours.next().expect("the reservation on its topic")
}

async fn texts(instance: &Instance, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&instance.write).await.expect("texts")
}
