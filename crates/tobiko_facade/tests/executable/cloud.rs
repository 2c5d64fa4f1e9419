//! A local cloud of one's own, fed as the recorder feeds it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub struct Cloud {
    pub base_url: String,
    http: reqwest::Client,
    _folder: TempDir,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Cloud {
    pub async fn start() -> Self {
        Self::start_for(None).await
    }

    /// Lets in only the client of that id and secret.
    pub async fn start_for(client: Option<(&str, &str)>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let settings = local_cloud::Settings {
            database: folder.path().join("cloud.db"),
            public_url: None,
            client: client.map(|(id, secret)| (id.to_owned(), local_cloud::Secret::from(secret.to_owned()))),
            stale_after: Duration::from_secs(60),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(local_cloud::serve(listener, settings, async { drop(stopped.await) }));
        Self { base_url, http: reqwest::Client::new(), _folder: folder, _stop: stop }
    }

    /// Sends events; each gets an id and a time, seconds from one to the next.
    pub async fn feed(&self, events: &[Value]) {
        self.feed_at(0, events).await;
    }

    async fn feed_at(&self, minute: usize, events: &[Value]) {
        let line = |(n, event): (usize, &Value)| {
            let at = format!("2026-01-01T00:{minute:02}:{n:02}Z");
            let mut line = json!({"id": uuid::Uuid::new_v4().to_string(), "at": at});
            line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
            line.to_string()
        };
        let body: Vec<String> = events.iter().enumerate().map(line).collect();
        let url = format!("{}/recorder/v1/events", self.base_url);
        let answer = self
            .http
            .post(url)
            .header("content-type", "application/x-ndjson")
            .body(body.join("\n"))
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["refused"], json!([]), "{answer}");
    }

    /// An environment of two models, `a` and `b` below it; `a` has an audit.
    pub async fn feed_environment(&self) {
        let node = |name: &str, parents: &[&str], audits: &[&str]| {
            json!({"name": name, "model_name": name, "description": null, "source_type": "sql", "tags": [],
                   "parent_names": parents, "audit_names": audits, "type": "model", "version": "1"})
        };
        let nodes = [node("a", &[], &["not_null"]), node("b", &["a"], &[])];
        self.feed(&[
            json!({"type": "environment", "environment": "prod", "plan_id": "p", "start_at": null, "nodes": nodes}),
        ])
        .await;
    }

    /// A whole run in which `a` ended as `status`, and `b` was not evaluated.
    pub async fn feed_run(&self, run_id: &str, status: &str, error: Option<&str>) {
        self.feed_whole_run(0, run_id, status, error).await;
    }

    /// A run that ended well, so many minutes past midnight.
    pub async fn feed_run_at(&self, run_id: &str, minute: usize) {
        self.feed_whole_run(minute, run_id, "success", None).await;
    }

    pub async fn feed_failed_run_at(&self, run_id: &str, minute: usize) {
        self.feed_whole_run(minute, run_id, "failed", Some("broken")).await;
    }

    /// An environment of so many models, `m00`, `m01`, ..., and a failed run that evaluated all of them: `m00` failed, first.
    pub async fn feed_run_of_many(&self, run_id: &str, models: usize) {
        let names: Vec<String> = (0..models).map(|n| format!("m{n:02}")).collect();
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                json!({"name": name, "model_name": name, "description": null, "source_type": "sql", "tags": [],
                       "parent_names": [], "audit_names": [], "type": "model", "version": "1"})
            })
            .collect();
        let plan =
            json!({"type": "environment", "environment": "prod", "plan_id": "p", "start_at": null, "nodes": nodes});
        let started = json!({"type": "run_started", "run_id": run_id, "environment": "prod"});
        let mut events = vec![plan, started];
        for name in &names {
            let id = format!("{run_id}-{name}");
            let message = (name == "m00").then(|| format!("{name} broke"));
            let status = if message.is_some() { "failed" } else { "success" };
            events.push(
                json!({"type": "evaluation_started", "evaluation_id": id, "run_id": run_id, "environment": "prod",
                "node_name": name, "version": "1", "interval_start": null, "interval_end": null}),
            );
            events.push(
                json!({"type": "evaluation_ended", "evaluation_id": id, "status": status, "error_message": message}),
            );
        }
        events.push(json!({"type": "run_ended", "run_id": run_id, "environment": "prod", "status": "failed",
            "error_message": "m00 broke"}));
        self.feed(&events).await;
    }

    async fn feed_whole_run(&self, minute: usize, run_id: &str, status: &str, error: Option<&str>) {
        let of_run = json!({"run_id": run_id, "environment": "prod"});
        let evaluation_id = format!("{run_id}-a");
        let with = |fields: Value| {
            let mut event = of_run.clone();
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            event
        };
        let events = [
            with(json!({"type": "run_started"})),
            with(
                json!({"type": "evaluation_started", "evaluation_id": evaluation_id, "node_name": "a", "version": "1",
                        "interval_start": "2026-01-01T00:00:00Z", "interval_end": "2026-01-01T00:05:00Z"}),
            ),
            json!({"type": "audit", "evaluation_id": evaluation_id, "name": "not_null", "status": status, "blocking": true,
                   "count": 0, "execution_time": "2026-01-01T00:00:01Z", "interval_start": "2026-01-01T00:00:00Z",
                   "interval_end": "2026-01-01T00:05:00Z"}),
            json!({"type": "evaluation_ended", "evaluation_id": evaluation_id, "status": status, "error_message": error}),
            with(json!({"type": "run_ended", "status": status, "error_message": error})),
        ];
        self.feed_at(minute, &events).await;
    }
}
