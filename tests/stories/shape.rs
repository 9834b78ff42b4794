//! A database that is not as the build expects it, and rows that were edited by hand to what cannot be read.

use millrace_tests::load::{command, customer, register};
use millrace_tests::locks::Foreign;
use millrace_tests::{Instance, Process, becomes, eventually};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{beside_others, instance_with};

const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";

async fn alter(instance: &Instance, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(&instance.read).await.expect(sql);
}

fn moved(number: usize, i: usize, city: &str) -> String {
    let email = format!("c{i}@example.com");
    let data =
        json!({"customer_id": customer(i), "name": format!("Customer {i}"), "email": email, "city": city});
    command("ChangeCustomerDetails", number, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_calendar_has_is_the_fault_of_its_row_and_a_lost_column_is_built_anew() {
    let _turn = beside_others().await;
    let instance = instance_with("shape", &[("contexts", r#"["customers"]"#)]).await;
    let mut process = instance.start();
    instance.send(&[register(0), register(1)]).await;
    instance.settle().await;

    let row = format!("WHERE customer_id = '{}'", customer(1));
    alter(&instance, &format!("CREATE TABLE kept AS SELECT updated_at FROM customers_g1 {row}")).await;
    alter(&instance, &format!("UPDATE customers_g1 SET updated_at = 'infinity' {row}")).await;
    instance.send(&[moved(1, 1, "Athens"), moved(0, 0, "Athens"), register(2)]).await;
    becomes(&instance.read, DEAD, 1).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Athens'", 1).await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 3).await;
    let verified = instance.millrace(&["verify", "customers", "--patience", "5s"]).await;
    assert!(!verified.stderr.contains("panicked"), "{}", verified.stderr);
    assert!(!process.log().contains("panicked"), "a worker panicked");
    alter(&instance, &format!("UPDATE customers_g1 SET updated_at = (SELECT updated_at FROM kept) {row}"))
        .await;
    instance.millrace(&["dlq", "redrive", "r1", "--why", "the row is mended"]).await.expect_success();
    instance.settle().await;

    a_column_is_lost(&instance, &mut process).await;
    columns_change_their_types(&instance, &process).await;
    a_statement_is_cut_off(&instance).await;
    tells(&process, &["canceling statement"]).await;
    an_sql_view_is_made_again_when_it_is_another(&instance).await;
    instance.settle().await;
    becomes(&instance.read, DEAD, 0).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

/// No record is to blame: `status` names it, and the next generation has the column.
async fn a_column_is_lost(instance: &Instance, process: &mut Process) {
    process.freeze();
    alter(instance, "ALTER TABLE customers_g1 DROP COLUMN city CASCADE").await;
    let status = instance.millrace(&["status"]).await;
    status.expect_told("customers: another-shape: the table customers_g1 has no column `city`");
    process.thaw();
    instance.send(&[register(3), moved(4, 0, "Sparta")]).await;
    becomes(&instance.read, SERVING, 2).await;
    instance.millrace(&["replay", "customers", "--retire"]).await.expect_success();
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 4).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Sparta'", 1).await;
    becomes(&instance.read, DEAD, 0).await;
    let status = instance.millrace(&["status"]).await;
    assert!(!status.stdout.contains("another-shape"), "{}", status.stdout);
}

const SERVING: &str = "SELECT generation::bigint FROM replay WHERE view = 'customers' AND state = 'serving'";

/// What sessions have prepared gives other types then: each is prepared anew, and no record is to blame.
async fn columns_change_their_types(instance: &Instance, process: &Process) {
    let letters = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM dead_letter");
    let before = letters.fetch_one(&instance.read).await.expect("a count");
    for (number, type_) in [(7, "varchar"), (8, "text")] {
        alter(
            instance,
            &format!(
                "DO $$ DECLARE shown text := pg_get_viewdef('customers'); BEGIN
                     DROP VIEW customers;
                     ALTER TABLE customers_g2 ALTER COLUMN name TYPE {type_};
                     EXECUTE 'CREATE VIEW customers AS ' || shown;
                 END $$"
            ),
        )
        .await;
        let write = format!("ALTER TABLE command ALTER COLUMN source TYPE {type_}");
        sqlx::query(AssertSqlSafe(write)).execute(&instance.write).await.expect("another type");
        instance.send(&[register(number), moved(number, 0, &format!("City {number}"))]).await;
        instance.settle().await;
    }
    tells(process, &["outdated"]).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'City 8'", 1).await;
    becomes(&instance.read, "SELECT count(*) FROM dead_letter", before).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter", 0).await;
}

/// Waits for a line of the log that has all of these words.
async fn tells(process: &Process, words: &[&str]) {
    eventually(&format!("the log tells of {words:?}"), async || {
        let log = process.log();
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if told { Ok(()) } else { Err(log.lines().rev().take(3).collect()) }
    })
    .await;
}

/// One that is as it should be is left alone: `setup` waits for no reader.
async fn an_sql_view_is_made_again_when_it_is_another(instance: &Instance) {
    let setup = async || instance.millrace(&["setup"]).await;
    setup().await.expect_success();
    let mut reading = instance.read.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM customers").execute(&mut *reading).await.expect("rows");
    let nothing = async || {
        let told = setup().await.expect_success().stdout.clone();
        assert!(!told.contains("updated"), "{told}");
    };
    nothing().await;
    reading.commit().await.expect("read");
    let replaced = "DO $$ BEGIN
        EXECUTE 'CREATE OR REPLACE VIEW customers AS SELECT * FROM ('
            || rtrim(pg_get_viewdef('customers'), ';') || ') AS was LIMIT 0';
    END $$";
    alter(instance, replaced).await;
    setup().await.expect_success().expect_told("updated  read side        view customers");
    nothing().await;
}

/// As by a `statement_timeout`, while it waits for a lock.
async fn a_statement_is_cut_off(instance: &Instance) {
    let mut in_the_way = instance.read.begin().await.expect("a transaction");
    let foreign = Foreign::of(&mut in_the_way).await;
    sqlx::query("LOCK TABLE customers_g2 IN EXCLUSIVE MODE").execute(&mut *in_the_way).await.expect("a lock");
    instance.send(&[register(5), register(6)]).await;
    let cut = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
               WHERE $1 = ANY(pg_blocking_pids(pid)) AND application_name = $2";
    eventually("a statement is cut off", async || {
        let cut = sqlx::query_scalar(cut).bind(foreign.pid()).bind(instance.session_name());
        match cut.fetch_one(&instance.read).await {
            Ok(0_i64) => Err("nobody waits".to_owned()),
            other => other.map(|_| ()).map_err(|error| error.to_string()),
        }
    })
    .await;
    in_the_way.commit().await.expect("the lock is free");
}
