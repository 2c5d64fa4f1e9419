//! The pages: every link of the API leads to one, and nothing that was recorded breaks them.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::events::{CHECK, ITEMS, ORDERS, audited, ended, environment, model, plan, run, standalone_audit};

const ODD: &str = r#""wh"."a/b & <i>"."naïve ""x?#%""#;

/// An environment with a bit of everything.
async fn busy_cloud() -> Cloud {
    let cloud = Cloud::start().await;
    let (p1, r1, r2) = (plan("p1").of("dev/1"), run("r1"), run("r2"));
    let nodes = [model(ORDERS, "v1"), model(ITEMS, "v1"), model(ODD, "v&1"), standalone_audit(CHECK, &[ORDERS])];
    let all = [
        vec![p1.started(1)],
        p1.evaluated(2, "e1", ORDERS, "v1").to_vec(),
        p1.evaluated(3, "e2", ODD, "v&1").to_vec(),
        vec![p1.ended(5, "success", None)],
        vec![environment("dev/1", 5, &nodes), environment("prod", 6, &nodes)],
        vec![r1.started(10), r1.evaluating(11, "e3", ORDERS, "v1")],
        vec![audited(12, "e3", "not_null", "success"), audited(12, "e3", "unique", "failed")],
        vec![ended(13, "e3", "failed", Some("<script>alert(1)</script> broke"))],
        r1.evaluated(13, "e4", CHECK, "a1").to_vec(),
        vec![r1.ended(15, "failed", Some("1 of 2 models failed"))],
        vec![r2.started(20), r2.evaluating(21, "e5", ITEMS, "v1"), r2.scheduled(21, "e6", ODD, "v&1")],
    ];
    cloud.ingest(&all.concat()).await;
    cloud
}

/// The values of every `link` and `log_link`, at whatever depth.
fn links(answer: &Value, found: &mut BTreeSet<String>) {
    match answer {
        Value::Array(list) => list.iter().for_each(|one| links(one, found)),
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(link) if key.ends_with("link") => drop(found.insert(link.clone())),
                    value => links(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The addresses that a page leads to.
fn hrefs(page: &str) -> impl Iterator<Item = String> {
    let pieces = page.split("href=\"").skip(1);
    pieces
        .filter_map(|piece| piece.split('"').next())
        .map(|href| href.replace("&#38;", "&").replace("&#39;", "'"))
        .filter(|href| href.starts_with('/'))
}

#[tokio::test]
async fn every_link_of_the_api_leads_to_a_page() {
    let cloud = busy_cloud().await;
    let mut found = BTreeSet::new();
    for path in ["/dags/prod", "/dags/dev%2F1", "/runs", "/runs/r1/evaluations", "/evaluations?limit=1000"] {
        links(&cloud.get(path).await, &mut found);
    }
    assert!(found.len() > 20, "{found:#?}");
    for link in &found {
        assert!(link.starts_with(&cloud.base), "{link}");
        cloud.page(link).await;
    }
}

#[tokio::test]
async fn every_link_of_a_page_leads_to_a_page() {
    let cloud = busy_cloud().await;
    let mut waiting = vec!["/".to_owned()];
    let mut seen = BTreeSet::from(["/".to_owned()]);
    while let Some(path) = waiting.pop() {
        let page = cloud.page(&path).await;
        for href in hrefs(&page) {
            let path = href.split('#').next().unwrap_or_default().to_owned();
            if seen.insert(path.clone()) {
                waiting.push(path);
            }
        }
    }
    assert!(seen.iter().any(|path| path.contains("/plans/p1")), "{seen:#?}");
    assert!(seen.iter().any(|path| path.contains("tab_evaluation=error")), "{seen:#?}");
    assert!(seen.len() > 30, "{seen:#?}");
}

#[tokio::test]
async fn what_was_recorded_is_shown_as_text() {
    let cloud = busy_cloud().await;
    let evaluation = cloud.get("/evaluations/e3").await;
    let page = cloud.page(evaluation["link"].as_str().expect("a link")).await;
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62; broke"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("SELECT 1 WHERE &#60;id&#62; IS NULL"));
    assert!(page.contains("1 failing row "), "{page}");
    assert!(page.contains("id=\"audit-2\""));
    assert!(page.contains("evaluated e3") && page.contains("What was sold"));
}

#[tokio::test]
async fn the_run_page_shows_status_error_and_executions() {
    let cloud = busy_cloud().await;
    let run = cloud.get("/runs/r1").await;
    let link = run["link"].as_str().expect("a link");
    let page = cloud.page(link).await;
    for expected in ["1 of 2 models failed", "wh.shop.orders", "wh.shop.totals_match", "5.0 s", "alert(1)"] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("http-equiv"), "an ended run does not load itself again");
    let audits = cloud.page(&link.replace("executions", "audits")).await;
    assert!(audits.contains("not_null") && audits.contains("unique"), "{audits}");
    // A run that goes on does.
    assert!(cloud.page("/environments/prod/runs/r2").await.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn tabs_that_are_not_known_show_the_summary() {
    let cloud = busy_cloud().await;
    for query in ["", "?tab=odd", "?tab=explore", "?tab=summary&tab_summary=physical-updates", "?tab=%ff"] {
        let page = cloud.page(&format!("/environments/dev%2F1/plans/p1{query}")).await;
        assert!(page.contains("Executions"), "{query}");
    }
    let newest = cloud.page("/environments/prod/runs/r1?tab=explore&model_name=%22wh%22.%22shop%22.%22orders%22").await;
    assert!(newest.contains("evaluated e3"));
}

#[tokio::test]
async fn the_index_says_what_to_do_first() {
    let cloud = Cloud::start().await;
    let page = cloud.page("/").await;
    assert!(page.contains(&format!("TCLOUD_BASE_URL={}", cloud.base)), "{page}");
    assert!(page.contains("tobikodata.sqlmesh_recorder"));
}

#[tokio::test]
async fn the_index_lists_environments_and_runs() {
    let cloud = busy_cloud().await;
    let page = cloud.page("/").await;
    for expected in ["dev/1", "prod", "4 models and audits", "no runs yet", "1 of 2 models failed"] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
}

#[tokio::test]
async fn a_missing_page_is_a_friendly_404() {
    let cloud = busy_cloud().await;
    for path in [
        "/nowhere",
        "/environments/nowhere",
        "/environments/prod/runs/nowhere",
        "/environments/prod/runs/p1",
        "/environments/dev%2F1/runs/r1",
        "/environments/prod/models/nowhere",
        "/environments/prod/runs/r1?tab=explore&evaluation_id=nowhere",
        "/environments/%ff",
    ] {
        let answer = cloud.request(path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let page = answer.text().await.expect("text");
        assert!(page.contains("Not found") && page.contains("href=\"/\""), "{path}: {page}");
    }
}

#[tokio::test]
async fn programs_get_json_for_what_is_missing() {
    let cloud = Cloud::start().await;
    assert!(cloud.missing("/nowhere").await.contains("no endpoint"));
    let answer = cloud.client.post(format!("{}/api/v1/runs", cloud.base)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let detail: Value = answer.json().await.expect("JSON");
    assert_eq!(detail, json!({"detail": "/api/v1/runs does not support POST"}));
}

#[tokio::test]
async fn a_megabyte_of_text_is_cut_on_the_page() {
    let cloud = Cloud::start().await;
    let long = "x".repeat(1_000_000);
    cloud.ingest(&[run("r1").evaluating(1, "e1", ORDERS, "v1"), ended(2, "e1", "failed", Some(&long))]).await;
    for path in [
        "/",
        "/environments/prod",
        "/environments/prod/runs/r1",
        "/environments/prod/runs/r1?tab=explore&evaluation_id=e1",
    ] {
        let page = cloud.page(path).await;
        assert!(page.len() < 100_000, "{path}: {}", page.len());
    }
}

#[tokio::test]
async fn pages_run_no_scripts_and_are_compressed() {
    let cloud = busy_cloud().await;
    let address = cloud.base.replace("http://", "");
    let answer = cloud.request("/environments/prod").send().await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");

    // By hand, since the client hides that it unpacked the answer.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut raw = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let head = "GET /environments/prod HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    raw.write_all(head.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes).await.expect("an answer");
    assert!(String::from_utf8_lossy(&bytes).to_lowercase().contains("content-encoding: gzip"));
}
