//! What servers and networks do wrong: what is transient is retried, what is permanent is reported at once.
use std::time::{Duration, Instant};

use tobiko_client::{Client, ClientConfig, Error, RetryConfig, RunsQuery, Timeouts};

use crate::cloud::{Cloud, Reply, html, json, quick, settings, status, timeouts};
use crate::wire_tap::{self, Act, whole};

const RUNS: &str = r#"[{"run_id": "r1"}]"#;

/// The first answer is bad, the second good: one call, two requests.
async fn check_transient(bad: fn() -> Reply) {
    let cloud = Cloud::start(move |seen| if seen.before == 0 { bad() } else { json(RUNS) }).await;
    let client = cloud.client();
    assert_eq!(client.runs(&RunsQuery::default()).await.unwrap()[0].run_id, "r1");
    assert_eq!(client.requests(), 2);
}

/// It stays bad: an outage after all tries.
async fn check_outage(bad: fn() -> Reply, expected: &str) {
    let cloud = Cloud::start(move |_| bad()).await;
    let client = cloud.client();
    let error = client.dag("prod").await.unwrap_err();
    assert!(error.is_outage(), "{error}");
    let url = format!("{}/sqlmesh/demo/api/v1/dags/prod", cloud.origin);
    assert_eq!(
        error.to_string(),
        format!("{url} is not available: {expected} (5 tries); try again later, or check the URL and the network")
    );
    assert_eq!(client.requests(), 5);
    assert_eq!(cloud.seen().len(), 5);
}

/// One request, and an error that is no outage.
async fn check_permanent(bad: fn() -> Reply, expected: &str) {
    let cloud = Cloud::start(move |_| bad()).await;
    let client = cloud.client();
    let error = client.dag("prod").await.unwrap_err();
    assert!(!error.is_outage(), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(client.requests(), 1, "{error}");
}

#[tokio::test]
async fn a_500_with_a_detail() {
    check_transient(|| status(500, r#"{"detail": "boom"}"#)).await;
    check_outage(|| status(500, r#"{"detail": "boom"}"#), "it answered 500: boom").await;
}

#[tokio::test]
async fn a_502_and_a_503_with_a_page() {
    const PAGE: &str = "<html><head><title>Bad Gateway</title></head><body>nginx</body></html>";
    check_transient(|| html(502, PAGE)).await;
    check_transient(|| html(503, PAGE)).await;
    check_outage(|| html(502, PAGE), "it answered 502: an HTML page, \"Bad Gateway\"").await;
}

#[tokio::test]
async fn a_408_and_an_empty_body() {
    check_transient(|| status(408, "")).await;
    check_transient(|| json("")).await;
    check_outage(|| json(""), "its response ended too early").await;
}

#[tokio::test]
async fn a_429_is_honored() {
    let cloud = Cloud::start(|seen| match seen.before {
        0 => Reply { headers: vec![("retry-after", "1".into())], ..status(429, "") },
        _ => json(RUNS),
    })
    .await;
    let started = Instant::now();
    assert_eq!(cloud.client().runs(&RunsQuery::default()).await.unwrap().len(), 1);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_429_may_give_a_date() {
    let cloud = Cloud::start(|seen| match seen.before {
        0 => {
            // Dates have whole seconds: what is left of them is between one and two.
            let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(2));
            Reply { headers: vec![("retry-after", date)], ..status(429, "") }
        }
        _ => json(RUNS),
    })
    .await;
    let started = Instant::now();
    assert_eq!(cloud.client().runs(&RunsQuery::default()).await.unwrap().len(), 1);
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_429_that_asks_for_more_time_than_there_is_ends_the_call() {
    let cloud =
        Cloud::start(|_| Reply { headers: vec![("retry-after", "86400".into())], ..status(429, "slow down") }).await;
    let client = cloud.client();
    let error = client.runs(&RunsQuery::default()).await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("it answered 429: slow down"), "{error}");
    assert_eq!(client.requests(), 1);
}

#[tokio::test]
async fn what_is_permanent_is_reported_at_once() {
    check_permanent(
        || status(400, r#"{"detail": "no such sort"}"#),
        "rejected the request with status 400: no such sort",
    )
    .await;
    check_permanent(|| status(422, r#"{"detail": [{"msg": "bad"}]}"#), "status 422: bad").await;
    check_permanent(|| status(403, r#"{"detail": "not yours"}"#), "denied access (403: not yours)").await;
}

/// A response that is not the API's, and a part of the error about it.
type NotTheApi = (fn() -> Reply, &'static str);

const NOT_THE_API: [NotTheApi; 5] = [
    (|| html(200, "<html><title>Sign in</title>"), "answers an HTML page, \"Sign in\" instead of JSON"),
    (|| json("{malformed"), "answers {malformed instead of JSON"),
    (|| json(r#"{"detail": "welcome"}"#), "JSON that is not a DAG"),
    (|| html(400, "<html>"), "answers 400 with an HTML page"),
    (|| status(302, ""), "answers 302 without a location"),
];

/// The API's own 404 is JSON.
const NO_API_HERE: NotTheApi = (|| html(404, "<html>"), "answers 404 with an HTML page");

#[tokio::test]
async fn what_is_not_the_api_is_retried_before_the_base_url_is_blamed() {
    for (bad, expected) in NOT_THE_API {
        check_transient(bad).await;
        let cloud = Cloud::start(move |_| bad()).await;
        let client = cloud.client();
        let error = client.dag("prod").await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }) && !error.is_outage(), "{error}");
        assert!(
            error.to_string().contains(expected) && error.to_string().ends_with(": check TCLOUD_BASE_URL"),
            "{error}"
        );
        // Once: who typed a wrong base URL does not wait for all tries.
        assert_eq!(client.requests(), 2, "{error}");
    }
}

#[tokio::test]
async fn a_404_that_is_not_the_apis_blames_the_base_url_at_once() {
    let (bad, expected) = NO_API_HERE;
    check_permanent(bad, &format!("{expected}, not as the API does: check TCLOUD_BASE_URL")).await;
}

#[tokio::test]
async fn what_is_not_the_api_is_an_outage_after_a_good_response() {
    for (bad, expected) in NOT_THE_API.into_iter().chain([NO_API_HERE]) {
        // Also "there is no such thing" is a good response.
        for good in [|| json(r#"{"environment": "prod"}"#), || status(404, r#"{"detail": "no such environment"}"#)] {
            let cloud = Cloud::start(move |seen| if seen.before == 0 { good() } else { bad() }).await;
            let client = cloud.client();
            client.dag("prod").await.unwrap();
            let error = client.dag("prod").await.unwrap_err();
            assert!(error.is_outage() && error.to_string().contains(expected), "{error}");
            assert!(
                error.to_string().contains("dags/prod is not available: it ")
                    && error.to_string().contains("(5 tries)"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn broken_connections() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[{\"run_id\": \"r1\"}".to_owned();
    let half_chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n[{\"run_i\r\n".to_owned();
    let half_without_length = "HTTP/1.0 200 OK\r\n\r\n[{\"run_id\":".to_owned();
    for bad in [
        Act::Send(String::new()),
        Act::Send("HTTP/1.1 200".into()),
        Act::Send(half),
        Act::Send(half_chunked),
        Act::Send(half_without_length),
        Act::Reset,
    ] {
        let origin = wire_tap::start(vec![bad.clone(), bad, whole(RUNS)]).await;
        let client = Client::new(settings(&origin)).unwrap();
        assert_eq!(client.runs(&RunsQuery::default()).await.unwrap()[0].run_id, "r1");
        assert_eq!(client.requests(), 3);
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_outs() {
    let short = |timeouts: Timeouts, stall: &'static str| async move {
        let origin = wire_tap::start(vec![Act::Stall(stall.into()), whole(RUNS)]).await;
        let client = Client::new(ClientConfig { timeouts, ..settings(&origin) }).unwrap();
        let started = Instant::now();
        assert_eq!(client.runs(&RunsQuery::default()).await.unwrap()[0].run_id, "r1");
        assert_eq!(client.requests(), 2);
        assert!(started.elapsed() < Duration::from_secs(15), "the long time-out was waited for");
    };
    let read = Timeouts { read: Duration::from_millis(300), ..timeouts() };
    short(read, "").await;
    short(read, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[{\"run_id\"").await;
    let request = Timeouts { request: Duration::from_millis(300), ..timeouts() };
    short(request, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[{\"run_id\"").await;
}

#[tokio::test]
async fn the_total_bounds_a_call() {
    let origin = wire_tap::start(vec![Act::Stall(String::new())]).await;
    let retry = RetryConfig { retry_timeout: Duration::from_millis(400), ..quick() };
    let client = Client::new(ClientConfig { retry, ..settings(&origin) }).unwrap();
    let started = Instant::now();
    let error = client.run("r1").await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("no answer in time"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(client.requests(), 1);
}

#[tokio::test]
async fn nobody_listens() {
    let origin = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let client = Client::new(settings(&origin)).unwrap();
    let error = client.run("r1").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().starts_with(&format!("{origin}/api/v1/runs/r1 is not available: connection refused")),
        "{error}"
    );
    assert_eq!(client.requests(), 5);
}

#[tokio::test]
async fn somebody_listens_a_little_later() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let retry = RetryConfig { max_tries: 1_000_000, ..quick() };
    let client =
        std::sync::Arc::new(Client::new(ClientConfig { retry, ..settings(&format!("http://{address}")) }).unwrap());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.runs(&RunsQuery::default()).await }
    });
    while client.requests() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(async || RUNS)).await.unwrap() });
    assert_eq!(call.await.unwrap().unwrap()[0].run_id, "r1");
}
