//! Lists that the service may have cut at its default limit of 100.
use tobiko_client::{Client, Error, EvaluationsQuery, RunsQuery};

use crate::cloud::{Cloud, Seen, json, status};

/// So many evaluations there are; without a limit 100 are given; a limit above `largest` is refused.
async fn cloud_with(there_are: usize, largest: usize) -> Cloud {
    Cloud::start(move |seen: &Seen| {
        let limit = seen.query.split('&').find_map(|pair| pair.strip_prefix("limit="));
        let limit = limit.map_or(100, |limit| limit.parse().unwrap());
        if limit > largest {
            return status(422, r#"{"detail": "limit is too large"}"#);
        }
        let record = |number: usize| format!(r#"{{"evaluation_id":"{number}","node_name":"n","run_id":"{number}"}}"#);
        json(format!("[{}]", (0..there_are.min(limit)).map(record).collect::<Vec<_>>().join(",")))
    })
    .await
}

fn limits(cloud: &Cloud) -> Vec<String> {
    let limit = |seen: Seen| seen.query.split("limit=").nth(1).unwrap_or("none").to_owned();
    cloud.seen().into_iter().map(limit).collect()
}

async fn all(client: &Client) -> Result<usize, Error> {
    Ok(client.evaluations(&EvaluationsQuery::default()).await?.len())
}

#[tokio::test]
async fn exactly_100_are_asked_for_again_and_other_numbers_are_not() {
    for (there_are, found, asked) in [
        (0, 0, vec!["none"]),
        (99, 99, vec!["none"]),
        (100, 100, vec!["none", "10000"]),
        (101, 101, vec!["none", "10000"]),
        (10_000, 10_000, vec!["none", "10000", "100000"]),
    ] {
        let cloud = cloud_with(there_are, usize::MAX).await;
        assert_eq!(all(&cloud.client()).await, Ok(found));
        assert_eq!(limits(&cloud), asked);
    }
}

#[tokio::test]
async fn the_next_call_asks_for_all_at_once() {
    let cloud = cloud_with(150, usize::MAX).await;
    let client = cloud.client();
    assert_eq!(all(&client).await, Ok(150));
    assert_eq!(all(&client).await, Ok(150));
    assert_eq!(limits(&cloud), ["none", "10000", "10000"]);
    assert_eq!(client.run_evaluations("r", None, Vec::new).await.unwrap().len(), 150);
    assert_eq!(limits(&cloud)[3..], ["none", "10000"], "another list learns for itself");
}

#[tokio::test]
async fn a_server_that_refuses_large_limits_is_asked_for_fewer() {
    let cloud = cloud_with(150, 1_000).await;
    assert_eq!(all(&cloud.client()).await, Ok(150));
    assert_eq!(limits(&cloud), ["none", "10000", "1000"]);

    let cloud = cloud_with(150, 100).await;
    assert_eq!(all(&cloud.client()).await, Ok(100));
    assert_eq!(limits(&cloud), ["none", "10000", "1000"]);
}

#[tokio::test]
async fn a_limit_of_the_callers_is_final() {
    let cloud = cloud_with(500, usize::MAX).await;
    let query = RunsQuery { limit: Some(100), ..RunsQuery::default() };
    assert_eq!(cloud.client().runs(&query).await.unwrap().len(), 100);
    assert_eq!(limits(&cloud), ["100"]);
}
