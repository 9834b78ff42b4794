//! A row's version counts its events, wherever they come from.

use millrace_tests::load::{add_product, customer, place, product, register};

use crate::{beside_others, instance};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_two_topics_touch_is_published_in_its_own_order() {
    let _turn = beside_others().await;
    let instance = instance("versions").await;
    let _process = instance.start();
    // Far along one topic, at the beginning of the other.
    let customers = 40;
    let mut commands: Vec<String> = (0..customers).map(register).collect();
    commands.push(add_product(1));
    instance.send(&commands).await;
    instance.settle().await;
    instance.send(&[place(1, &customer(customers - 1), &product(1))]).await;
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
}
