//! `GET /dags/{environment}`

use serde_json::json;

use crate::cloud::Cloud;
use crate::events::{CHECK, ITEMS, ORDERS, environment, model, standalone_audit};

#[tokio::test]
async fn a_dag_has_what_the_recorder_sent() {
    let cloud = Cloud::start().await;
    let nodes = [model(ORDERS, "v1"), standalone_audit(CHECK, &[ORDERS])];
    cloud.ingest(&[environment("prod", 0, &nodes)]).await;

    let dag = cloud.get("/dags/prod").await;
    let base = &cloud.base;
    let expected = json!({
        "environment": "prod",
        "start_at": "2024-01-01T00:00:00Z",
        "schedule_seconds": 300,
        "schedule_cron": "*/5 * * * *",
        "link": format!("{base}/environments/prod"),
        "nodes": [
            {"name": ORDERS, "model_name": "wh.shop.orders", "description": "What was sold", "source_type": "sql",
             "tags": ["core"], "parent_names": ["\"wh\".\"shop\".\"raw\""], "audit_names": ["not_null"],
             "type": "model",
             "link": format!("{base}/environments/prod/models/%22wh%22.%22shop%22.%22orders%22?version=v1")},
            {"name": CHECK, "model_name": "wh.shop.totals_match", "description": null, "source_type": "audit",
             "tags": [], "parent_names": [ORDERS], "audit_names": [], "type": "audit",
             "link": format!("{base}/environments/prod/models/%22wh%22.%22shop%22.%22totals_match%22?version=a1")},
        ],
    });
    assert_eq!(dag, expected);
}

#[tokio::test]
async fn a_node_has_its_cron_where_the_recorder_says_it() {
    let cloud = Cloud::start().await;
    let mut daily = model(ORDERS, "v1");
    daily["cron"] = json!("@daily");
    cloud.ingest(&[environment("prod", 0, &[daily, model(ITEMS, "v1")])]).await;
    let dag = cloud.get("/dags/prod").await;
    let node = |name: &str| dag["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == name));
    assert_eq!(node(ORDERS).and_then(|node| node.get("cron")), Some(&json!("@daily")));
    assert_eq!(node(ITEMS).and_then(|node| node.get("cron")), None);
}

#[tokio::test]
async fn audits_have_what_the_recorder_knows_of_them() {
    let cloud = Cloud::start().await;
    let audits = json!([
        {"name": "not_null", "args": "columns := (id)", "blocking": true, "query": "SELECT 1"},
        {"name": "not_null", "args": null, "blocking": false, "query": null, "of": "a newer recorder"},
    ]);
    let (mut detailed, mut odd) = (model(ORDERS, "v1"), model(ITEMS, "v1"));
    detailed["audits"] = audits;
    odd["audits"] = json!(["not_null", {"args": "x"}, {"name": "unique"}]);
    cloud.ingest(&[environment("prod", 0, &[detailed.clone(), odd.clone()])]).await;
    let nodes = cloud.get("/dags/prod").await["nodes"].clone();
    let expected = json!([
        {"name": "not_null", "args": "columns := (id)", "blocking": true, "query": "SELECT 1"},
        {"name": "not_null", "blocking": false},
    ]);
    assert_eq!(nodes[0]["audits"], expected);
    assert_eq!(nodes[1]["audits"], json!([{"name": "unique"}]));

    // An older recorder says only the names.
    cloud.ingest(&[environment("prod", 5, &[model(ORDERS, "v1")])]).await;
    assert!(cloud.get("/dags/prod").await["nodes"][0].get("audits").is_none());
}

#[tokio::test]
async fn an_unknown_environment_is_404() {
    let cloud = Cloud::start().await;
    assert!(cloud.missing("/dags/prod").await.contains("\"prod\" does not exist"));
}

#[tokio::test]
async fn environment_names_may_have_slashes_dashes_and_blanks() {
    let cloud = Cloud::start().await;
    for (name, paths) in [
        ("release/1.2", vec!["release/1.2", "release%2F1.2"]),
        ("dev-alice", vec!["dev-alice"]),
        ("ü 1", vec!["%C3%BC%201"]),
    ] {
        cloud.ingest(&[environment(name, 0, &[model(ORDERS, "v1")])]).await;
        for path in paths {
            let dag = cloud.get(&format!("/dags/{path}")).await;
            assert_eq!(dag["environment"], name);
            cloud.page(dag["link"].as_str().expect("a link")).await;
            cloud.page(dag["nodes"][0]["link"].as_str().expect("a link")).await;
        }
    }
}

#[tokio::test]
async fn the_newest_dag_counts_whatever_the_order_of_arrival() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[environment("prod", 10, &[model(ITEMS, "v2")])]).await;
    cloud.ingest(&[environment("prod", 5, &[model(ORDERS, "v1")])]).await;
    assert_eq!(cloud.get("/dags/prod").await["nodes"][0]["name"], ITEMS);
    cloud.ingest(&[environment("prod", 20, &[model(ORDERS, "v3")])]).await;
    assert_eq!(cloud.get("/dags/prod").await["nodes"][0]["name"], ORDERS);
}

#[tokio::test]
async fn a_node_that_is_listed_twice_is_kept_once() {
    let cloud = Cloud::start().await;
    let twice = [model(ORDERS, "v1"), model(ORDERS, "v2")];
    cloud.ingest(&[environment("prod", 0, &twice)]).await;
    let dag = cloud.get("/dags/prod").await;
    assert_eq!(dag["nodes"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn links_begin_with_the_public_url() {
    let cloud = Cloud::start_with(|settings| {
        settings.public_url = Some("https://cloud.example.test/sqlmesh/".parse().expect("a URL"));
    })
    .await;
    cloud.ingest(&[environment("prod", 0, &[])]).await;
    let link = "https://cloud.example.test/sqlmesh/environments/prod";
    assert_eq!(cloud.get("/dags/prod").await["link"], link);
    let page = cloud.page("/environments/prod").await;
    assert!(page.contains(r#"href="/sqlmesh/style.css""#), "{page}");
}
