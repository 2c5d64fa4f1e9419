//! A simulated cloud that runs as long as the test holds it.

use std::time::{Duration, Instant};

use cloud_simulator::{Scenario, serve};
use local_cloud::{Secret, Settings};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const CLIENT_ID: &str = "test-client";
pub const CLIENT_SECRET: &str = "test-secret";

pub struct SimulatedCloud {
    pub base: String,
    pub control: String,
    pub http: Client,
    _folder: TempDir,
}

impl SimulatedCloud {
    /// Open to everybody.
    pub async fn start(scenario: &str) -> Self {
        Self::start_for(scenario, None).await
    }

    /// Requires an OAuth client.
    pub async fn start_closed(scenario: &str) -> Self {
        let client = (CLIENT_ID.to_owned(), Secret::from(CLIENT_SECRET.to_owned()));
        Self::start_for(scenario, Some(client)).await
    }

    async fn start_for(scenario: &str, client: Option<(String, Secret)>) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("scenario.yaml");
        std::fs::write(&file, scenario).expect("written");
        let scenario = Scenario::read(&file).expect("a scenario");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let control = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
        let (base, control_url) = (origin(&listener), origin(&control));
        let settings = Settings {
            database: folder.path().join("cloud.db"),
            public_url: None,
            client,
            stale_after: Duration::from_secs(3),
        };
        tokio::spawn(serve(listener, control, settings, scenario, std::future::pending()));
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(20));
        let http = http.redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self { base, control: control_url, http, _folder: folder }
    }

    /// A JSON answer of the API with status 200.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/api/v1{path}", self.base)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.expect("JSON")
    }

    /// One field of each object of a list.
    pub async fn column(&self, path: &str, field: &str) -> Vec<Value> {
        self.get(path).await.as_array().expect("a list").iter().map(|object| object[field].clone()).collect()
    }

    pub async fn order(&self, what: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}/control/{what}", self.control)).json(&body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{what}: {}", answer.text().await.expect("text"));
        answer.json().await.expect("JSON")
    }

    pub async fn fault(&self, rule: Value) {
        self.order("faults", rule).await;
    }

    pub async fn no_faults(&self) {
        let url = format!("{}/control/faults", self.control);
        assert!(self.http.delete(url).send().await.expect("an answer").status().is_success());
    }

    pub async fn state(&self) -> Value {
        let answer = self.http.get(format!("{}/control/state", self.control)).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Sets the clock ahead, and waits until all that is due by then has been reported.
    pub async fn advance(&self, seconds: f64) {
        self.order("clock", json!({"advance_s": seconds})).await;
        self.settled().await;
    }

    /// Waits until nothing more is due now.
    pub async fn settled(&self) {
        self.wait_for(|state| state["due_now"] == 0).await;
    }

    /// The state, as soon as it is as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let state = self.state().await;
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < until, "it did not come: {state}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
