//! Environments that are deleted by SQLMesh or forgotten by a person.

use reqwest::StatusCode;

use crate::cloud::Cloud;
use crate::events::{ITEMS, ORDERS, environment, environment_deleted, model, plan, run};

/// `dev`, where version 2 of a model was made, and `prod`, which has it since.
async fn promoted() -> Cloud {
    let cloud = Cloud::start().await;
    let p1 = plan("p1").of("dev");
    cloud.ingest(&[p1.started(1)]).await;
    cloud.ingest(&p1.evaluated(2, "e1", ORDERS, "v2")).await;
    cloud.ingest(&p1.evaluated(3, "e2", ITEMS, "only dev")).await;
    cloud.ingest(&[p1.ended(5, "success", None), run("r1").of("dev").started(6)]).await;
    cloud.ingest(&[environment("dev", 5, &[model(ORDERS, "v2"), model(ITEMS, "only dev")])]).await;
    cloud.ingest(&[environment("prod", 7, &[model(ORDERS, "v2")])]).await;
    cloud
}

impl Cloud {
    async fn forget(&self, environment: &str) -> StatusCode {
        let url = format!("{}/api/v1/environments/{environment}", self.base);
        self.client.delete(url).send().await.expect("a response").status()
    }
}

async fn dev_is_gone(cloud: &Cloud) {
    cloud.missing("/dags/dev").await;
    cloud.missing("/runs?environment=dev").await;
    cloud.missing("/runs/r1").await;
    cloud.missing("/plans/p1").await;
    cloud.missing("/evaluations?environment=dev").await;
    cloud.missing("/evaluations/e2").await;
    assert!(!cloud.page("/").await.contains(">dev<"));
    let page = cloud.request("/environments/dev").send().await.expect("a response");
    assert_eq!(page.status(), StatusCode::NOT_FOUND);
    // What prod shows of it stays, and so does the page of it.
    assert_eq!(cloud.column("/evaluations?environment=prod&latest=true", "evaluation_id").await, ["e1"]);
    let evaluation = cloud.get("/evaluations/e1").await;
    cloud.page(evaluation["link"].as_str().expect("a link")).await;
}

#[tokio::test]
async fn an_environment_that_sqlmesh_deleted_is_gone() {
    let cloud = promoted().await;
    cloud.ingest(&[environment_deleted("dev", 10)]).await;
    dev_is_gone(&cloud).await;
    // A DAG from before that arrives late changes nothing.
    cloud.ingest(&[environment("dev", 9, &[model(ORDERS, "v2")])]).await;
    cloud.missing("/dags/dev").await;
}

#[tokio::test]
async fn a_deleted_environment_comes_back_with_its_next_plan() {
    let cloud = promoted().await;
    cloud.ingest(&[environment_deleted("dev", 10), environment("dev", 20, &[model(ORDERS, "v2")])]).await;
    assert_eq!(cloud.get("/dags/dev").await["nodes"][0]["name"], ORDERS);
    cloud.missing("/runs?environment=dev").await;
    // The news of the deletion may be late.
    cloud.ingest(&[environment_deleted("dev", 15)]).await;
    cloud.get("/dags/dev").await;
}

#[tokio::test]
async fn an_environment_can_be_forgotten() {
    let cloud = promoted().await;
    assert_eq!(cloud.forget("dev").await, StatusCode::NO_CONTENT);
    dev_is_gone(&cloud).await;
    assert_eq!(cloud.forget("dev").await, StatusCode::NOT_FOUND);
    cloud.ingest(&[environment("a/b", 8, &[])]).await;
    assert_eq!(cloud.forget("a%2Fb").await, StatusCode::NO_CONTENT);
    cloud.ingest(&[environment("dev", 5, &[model(ORDERS, "v3")])]).await;
    cloud.get("/dags/dev").await;
}

#[tokio::test]
async fn forgetting_needs_a_token() {
    let cloud = Cloud::start_closed().await;
    assert_eq!(cloud.forget("dev").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_deletion_of_an_unknown_environment_is_accepted() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[environment_deleted("dev", 10)]).await;
    assert_eq!(cloud.get("/info").await["projects"], serde_json::json!([]));
}
