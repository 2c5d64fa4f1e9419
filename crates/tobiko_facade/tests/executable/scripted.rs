//! `serve --scenario` as a process of its own, steered by its control endpoint.

use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::process::command;

pub struct Served {
    /// What it has said on its first line.
    pub places: Value,
    pub process: Child,
    /// Holds the scenario's file and what the process makes.
    pub folder: TempDir,
}

impl Served {
    /// Plays `scenario`; all that is due at its start has been told.
    pub async fn start(scenario: &str) -> Self {
        let served = Self::launch(scenario, &[]).await;
        served.settled().await;
        served
    }

    /// Returns as soon as it has said where it is.
    pub async fn launch(scenario: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenario = file(&folder, scenario);
        let temporary = folder.path().to_string_lossy().into_owned();
        let arguments = ["serve", "--quiet", "--listen", "127.0.0.1:0", "--scenario", &scenario];
        let mut command = command(&arguments, &[environment, &[("TMPDIR", temporary.as_str())]].concat());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).await.unwrap();
        Self { places: serde_json::from_str(&first).unwrap(), process, folder }
    }

    pub fn url(&self, which: &str) -> &str {
        self.places[which].as_str().unwrap()
    }

    pub async fn state(&self) -> Value {
        http().get(self.control("state")).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until nothing more is due now.
    pub async fn settled(&self) {
        while self.state().await["due_now"] != 0 {}
    }

    pub async fn order(&self, what: &str, body: Value) {
        let answer = http().post(self.control(what)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub async fn no_faults(&self) {
        http().delete(self.control("faults")).send().await.unwrap();
    }

    fn control(&self, what: &str) -> String {
        format!("{}/control/{what}", self.url("control_url"))
    }
}

/// Writes a scenario into `folder`; its path.
pub fn file(folder: &TempDir, scenario: &str) -> String {
    let path = folder.path().join("scenario.yaml");
    std::fs::write(&path, scenario).unwrap();
    path.to_string_lossy().into_owned()
}

fn http() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
