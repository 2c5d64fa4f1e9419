//! The token that processes share.

use serde_json::json;

use crate::process::{run, stderr};
use crate::scripted::Served;

const CLIENT: [(&str, &str); 2] = [("TCLOUD_CLIENT_ID", "me"), ("TCLOUD_CLIENT_SECRET", "hush")];

/// The endpoint takes its time, so that all of them are there before the first token is granted.
#[tokio::test]
async fn twenty_processes_at_once_fetch_one_token() {
    let served = Served::launch("environments: [{nodes: [{name: a}]}]", &CLIENT).await;
    served.settled().await;
    served.order("faults", json!({"path": "/auth/token", "do": {"slow_headers": 1}})).await;
    let home = served.folder.path().to_string_lossy().into_owned();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (home, base_url) = (home.clone(), served.url("base_url").to_owned());
        tasks.spawn(async move {
            let of_test = [("TCLOUD_BASE_URL", base_url.as_str()), ("HOME", home.as_str())];
            run(&["definitions"], &[&CLIENT[..], &of_test].concat()).await
        });
    }
    for output in tasks.join_all().await {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let requests = &served.state().await["requests"];
    assert_eq!((&requests["POST /auth/token"], &requests["GET /api/v1/dags/*"]), (&json!(1), &json!(20)), "{requests}");
}
