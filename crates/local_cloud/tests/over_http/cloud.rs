//! A local cloud that runs as long as the test holds it.

use std::path::PathBuf;
use std::time::Duration;

use local_cloud::{Secret, Settings};
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const CLIENT_ID: &str = "test-client";
pub const CLIENT_SECRET: &str = "test secret+%";

pub struct Cloud {
    pub base: String,
    pub client: Client,
    pub bearer: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), local_cloud::Error>>,
    folder: TempDir,
}

impl Cloud {
    /// Open to everybody.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Accepts one OAuth client only.
    pub async fn start_closed() -> Self {
        let secret = Secret::from(CLIENT_SECRET.to_owned());
        Self::start_with(|settings| settings.client = Some((CLIENT_ID.to_owned(), secret))).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder, change).await
    }

    async fn start_in(folder: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut settings = Settings {
            database: folder.path().join("below/cloud.db"),
            public_url: None,
            client: None,
            stale_after: Duration::from_secs(60),
        };
        change(&mut settings);
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(local_cloud::serve(listener, settings, async {
            let _ = stopped.await;
        }));
        Self {
            base: format!("http://{address}"),
            client: client_builder().build().expect("a client"),
            bearer: None,
            stop: Some(stop),
            server,
            folder,
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("below/cloud.db")
    }

    /// Requests its end, without waiting.
    pub fn request_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) -> Result<(), local_cloud::Error> {
        self.server.await.expect("no panic")
    }

    /// Stops, and starts again with the same database, on another port.
    pub async fn restart(mut self) -> Self {
        self.request_stop();
        let Self { server, folder, .. } = self;
        server.await.expect("no panic").expect("a clean end");
        Self::start_in(folder, |_| {}).await
    }

    pub fn request(&self, path: &str) -> RequestBuilder {
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.base),
        };
        let request = self.client.get(url);
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    /// A JSON answer of the API, whatever its status.
    pub async fn any(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.request(&format!("/api/v1{path}")).send().await;
        let answer = answer.expect("an answer");
        let status = answer.status();
        (status, answer.json().await.expect("JSON"))
    }

    /// A JSON answer with status 200.
    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.any(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// One field of each object of a list.
    pub async fn column(&self, path: &str, field: &str) -> Vec<Value> {
        let list = self.get(path).await;
        let list = list.as_array().expect("a list").iter();
        list.map(|object| object[field].clone()).collect()
    }

    /// The detail of a 404.
    pub async fn missing(&self, path: &str) -> String {
        let (status, answer) = self.any(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
        answer["detail"].as_str().expect("a detail").to_owned()
    }

    /// A page with status 200.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.request(path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("text")
    }

    /// Sends events as one batch.
    pub async fn send(&self, events: &[Value]) -> Value {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.send_text(lines).await
    }

    pub async fn send_text(&self, lines: impl Into<reqwest::Body>) -> Value {
        let request = self.client.post(format!("{}/recorder/v1/events", self.base));
        let request = match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        };
        let request = request.header("content-type", "application/x-ndjson");
        let answer = request.body(lines).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("JSON")
    }

    /// Sends events that must all be new and accepted.
    pub async fn ingest(&self, events: &[Value]) {
        let result = self.send(events).await;
        assert_eq!(result["accepted"], events.len(), "{result}");
    }
}

pub fn client_builder() -> ClientBuilder {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(20))
}
