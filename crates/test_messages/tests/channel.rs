//! The channel to Dagster at its limits: thousands of messages, a launcher that is gone, a reader that is gone, a full file.

#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

fn packed(parameters: &Value) -> String {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(parameters.to_string().as_bytes()).unwrap();
    STANDARD.encode(encoder.finish().unwrap())
}

fn variables(parameters: &Value) -> [(&'static str, String); 2] {
    let context = json!({"data": {"asset_keys": null, "code_version_by_asset_key": null, "extras": {},
        "job_name": "job", "partition_key": null, "partition_key_range": null, "partition_time_window": null,
        "provenance_by_asset_key": null, "retry_number": 0, "run_id": "dagster-run"}});
    [("DAGSTER_PIPES_CONTEXT", packed(&context)), ("DAGSTER_PIPES_MESSAGES", packed(parameters))]
}

/// A channel as Dagster opens it: the file of messages, and the two variables.
fn file_channel(folder: &Path) -> (PathBuf, [(&'static str, String); 2]) {
    let messages = folder.join("messages");
    std::fs::write(&messages, "").unwrap();
    (messages.clone(), variables(&json!({"path": messages})))
}

fn command(arguments: &[&str], channel: [(&'static str, String); 2]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-messages"));
    command.args(arguments).env_clear().envs(channel).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One word for each message.
fn words(messages: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(messages).unwrap();
    let word = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap();
        let payload = &message["params"]["payload"];
        match (payload["tobiko"].as_str(), payload["node"].as_str(), payload["outcome"].as_str()) {
            (Some(kind), Some(node), _) => format!("{kind} {node}"),
            (Some(kind), None, Some(outcome)) => format!("{kind}={outcome}"),
            _ => message["method"].as_str().unwrap().to_owned(),
        }
    };
    text.lines().map(word).collect()
}

#[tokio::test]
async fn messages_are_numbered_and_within_their_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, channel) = file_channel(folder.path());
    let output = command(&["--count", "1000", "--burst", "100"], channel).output().await.unwrap();
    assert_eq!(stderr(&output), "");
    let sent = words(&messages);
    assert_eq!(sent.len(), 1_003);
    assert!((0..1_000).all(|n| sent[n + 1] == format!("task_started {n}")));
    let longest = std::fs::read_to_string(&messages).unwrap().lines().map(str::len).max().unwrap();
    assert!((14_000..=15 * 1024).contains(&longest), "{longest}");
}

#[tokio::test]
async fn it_ends_when_its_launcher_closes_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, channel) = file_channel(folder.path());
    let mut command = command(&["--count", "100", "--pause-ms", "600000"], channel);
    let mut process = command.env("TOBIKO_FACADE_STDIN_IS_HELD", "1").stdin(Stdio::piped()).spawn().unwrap();
    let held = process.stdin.take();
    assert!(tokio::time::timeout(Duration::from_millis(500), process.wait()).await.is_err(), "it did not wait");
    drop(held);
    let status = tokio::time::timeout(Duration::from_secs(5), process.wait()).await.expect("it did not end");
    assert_eq!(status.unwrap().code(), Some(0));
    assert_eq!(words(&messages).join(" "), "opened task_started 0 done=gave_up closed");
}

#[tokio::test]
async fn it_ends_with_an_error_when_the_reader_is_gone() {
    let mut command = command(&["--count", "1000000"], variables(&json!({"stdio": "stdout"})));
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = process.stdout.take().unwrap();
    let mut beginning = [0; 1000];
    reader.read_exact(&mut beginning).await.unwrap();
    drop(reader);
    let ended = tokio::time::timeout(Duration::from_secs(5), process.wait_with_output());
    let output = ended.await.expect("it did not end").unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot write to the channel to Dagster: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("Broken pipe") && !stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_may_not_grow_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, channel) = file_channel(folder.path());
    let script = r#"trap '' XFSZ; ulimit -f 8; exec "$0" --count 1000"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_test-messages")]).envs(channel).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot write to the channel to Dagster: "), "{}", stderr(&output));
    assert!(std::fs::metadata(&messages).unwrap().len() > 1_000);
}
