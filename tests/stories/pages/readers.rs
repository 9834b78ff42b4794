//! Queries of readers: SQL of docs/contexts/, SQL and searches of docs/analysing.md.

use std::path::{Path, PathBuf};

use millrace_schemas::CONTEXTS;
use millrace_tests::instance::pool;
use millrace_tests::snapshot::elastic;
use millrace_tests::{Instance, stack};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use super::{DOCS, blocks, with_arguments};

/// Examples say nothing of what is the case on the day of the story.
const ABOUT_TODAY: &str = "now()";
/// Columns of the SQL views without a comment.
const SILENT: &str = "
    SELECT c.relname || '.' || a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v' AND a.attnum > 0
      AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL) ORDER BY 1";

/// The sample's customer, whom docs/analysing.md searches for.
pub(super) async fn a_customer_with_an_accent(instance: &Instance) {
    let data =
        json!({"customer_id": "ANTON", "name": "Antonio Moreno Taquería", "email": "a@moreno.example"});
    let register = json!({"id": "anton", "type": "RegisterCustomer", "data": data});
    instance.send_and_wait(&[register.to_string()]).await.expect_success();
}

pub(super) async fn every_query_finds_something(instance: &Instance) {
    let readers = pool("READER_DATABASE_URL", "public");
    elastic(&format!("{}-*/_refresh", instance.name), None).await;
    let contexts = CONTEXTS.iter().map(|context| format!("contexts/{context}.md"));
    for page in contexts.chain(["analysing.md", "freshness.md"].map(str::to_owned)) {
        let page: PathBuf = Path::new(DOCS).join(page);
        for (language, text) in blocks(&page) {
            match language.as_str() {
                "sql" => a_query_finds_rows(instance, &readers, &text).await,
                "sh" => a_search_finds_documents(instance, &text),
                _ => {}
            }
        }
    }
}

pub(super) async fn every_column_has_a_comment(instance: &Instance) {
    let silent: Vec<String> = sqlx::query_scalar(SILENT).fetch_all(&instance.read).await.expect("comments");
    assert_eq!(silent, [""; 0], "write down what they mean in views/columns.txt");
}

async fn a_query_finds_rows(instance: &Instance, readers: &PgPool, query: &str) {
    let here = query.replace("millrace.", &format!("\"{}\".", instance.name));
    let rows = sqlx::query(AssertSqlSafe(here)).fetch_all(readers).await;
    let rows = rows.unwrap_or_else(|error| panic!("{query}\n{error}"));
    assert!(!rows.is_empty() || query.contains(ABOUT_TODAY), "no rows: {query}");
}

/// Each command of a block finds documents, and each of its aggregations has buckets.
fn a_search_finds_documents(instance: &Instance, block: &str) {
    for search in block.split("curl ").filter(|search| !search.is_empty()) {
        let here = format!("curl -sS {search}").replace("/millrace-", &format!("/{}-", instance.name));
        let mut shell = with_arguments("sh", &["-ec", &here]);
        let output = shell.envs(stack().variables()).output().expect("a shell");
        let told = String::from_utf8_lossy(&output.stdout);
        let answer: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{search}\n{told}"));
        assert!(answer["hits"]["total"]["value"].as_i64() > Some(0), "{search}\n{told}");
        assert!(!told.contains(r#""buckets":[]"#), "{search}\n{told}");
    }
}
