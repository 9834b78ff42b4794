//! Reviews: one of each customer and product, and what products show of them.

use millrace_tests::load::{add_product, command, customer, product, register};
use millrace_tests::{Instance, becomes};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// The retries are long enough for a product to come after its review.
const SETTINGS: [(&str, &str); 2] =
    [("contexts", r#"["catalog", "customers", "inventory", "reviews"]"#), ("retries.delays", "[2s, 4s, 8s]")];

#[tokio::test(flavor = "multi_thread")]
async fn products_show_what_customers_think_of_them_in_both_read_models() {
    let _turn = beside_others().await;
    let instance = instance_with("reviews", &SETTINGS).await;
    let _process = instance.start();
    instance.send(&[register(1), register(2), add_product(1)]).await;
    instance.settle().await;
    instance.send(&[write(1, 1, 1, 5), edit(1, 1, 1, 3), write(2, 1, 2, 4)]).await;
    instance.settle().await;
    shows(&instance, 1, [0, 0, 1, 1, 0], Some("3.50")).await;
    a_second_review_is_rejected(&instance).await;
    instance.send(&[withdraw(1, 1, 2)]).await;
    instance.settle().await;
    shows(&instance, 1, [0, 0, 1, 0, 0], Some("3.00")).await;
    a_review_waits_for_its_product(&instance).await;
    shows(&instance, 2, [0, 1, 0, 0, 0], Some("2.00")).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

async fn a_second_review_is_rejected(instance: &Instance) {
    instance.send_and_wait(&[write(3, 1, 1, 1)]).await.expect_code(1);
    let receipt = instance.millrace(&["receipt", "WriteReview-3", "--format", "json"]).await;
    receipt.expect_told("review-exists");
    instance.settle().await;
    shows(instance, 1, [0, 0, 1, 1, 0], Some("3.50")).await;
}

async fn a_review_waits_for_its_product(instance: &Instance) {
    instance.send(&[write(4, 2, 1, 2)]).await;
    becomes(&instance.write, "SELECT count(*) FROM blocked_key WHERE status = 'retrying'", 1).await;
    instance.send(&[add_product(2)]).await;
    instance.settle().await;
}

async fn shows(instance: &Instance, of: usize, stars: [i64; 5], average: Option<&str>) {
    let reviews: i64 = stars.iter().sum();
    let sql = "SELECT reviews, ARRAY[one_star, two_stars, three_stars, four_stars, five_stars], rating_average::text
               FROM products WHERE product_id = $1";
    let row = sqlx::query_as::<_, (i64, Vec<i64>, Option<String>)>(sql).bind(product(of));
    let row = row.fetch_one(&instance.read).await.expect("the product's row");
    assert_eq!(row, (reviews, stars.to_vec(), average.map(str::to_owned)));
    let document = document(instance, &product(of)).await;
    let shown = ["one_star", "two_stars", "three_stars", "four_stars", "five_stars"]
        .map(|field| document[field].as_i64().expect("a number"));
    assert_eq!((document["reviews"].as_i64(), shown), (Some(reviews), stars));
    let hundredths = average.map(|average| average.replace('.', "").parse::<i64>().expect("a number"));
    assert_eq!(document["rating_hundredths"].as_i64(), hundredths);
}

async fn document(instance: &Instance, product_id: &str) -> Value {
    let documents = instance.documents("products").await.into_iter();
    let mut documents = documents.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
    documents.find(|document| document["_id"] == product_id).expect("the product's document")["_source"]
        .take()
}

fn review(of: usize, by: usize) -> String {
    format!("{}:{}", product(of), customer(by))
}

fn write(number: usize, of: usize, by: usize, rating: i32) -> String {
    let data = json!({
        "review_id": review(of, by), "product_id": product(of), "customer_id": customer(by), "rating": rating,
        "title": "Good", "text": "It does what it should.", "written_at": "2024-01-02T00:00:00Z",
    });
    command("WriteReview", number, data)
}

fn edit(number: usize, of: usize, by: usize, rating: i32) -> String {
    let data = json!({
        "review_id": review(of, by), "rating": rating, "title": "Fair", "text": "It did what it should.",
        "edited_at": "2024-01-03T00:00:00Z",
    });
    command("EditReview", number, data)
}

fn withdraw(number: usize, of: usize, by: usize) -> String {
    command("WithdrawReview", number, json!({"review_id": review(of, by), "reason": "not mine"}))
}
