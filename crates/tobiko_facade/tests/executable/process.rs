//! The executable as a process: started with a clean environment, its output collected.

use std::process::{Output, Stdio};

use tokio::process::Command;

/// The executable with `arguments`, and of the environment only what is given. Nothing of it gets into the home of whoever tests.
pub fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tobiko-facade"));
    command.args(arguments).env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command.envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).output().await.unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// stdout as JSON.
pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// What `tick` answers to `input`.
pub async fn tick(base_url: &str, environment: &str, input: serde_json::Value) -> serde_json::Value {
    use tokio::io::AsyncWriteExt;
    let mut command = command(&["tick", "-e", environment], &[("TCLOUD_BASE_URL", base_url)]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).await.unwrap();
    json(&child.wait_with_output().await.unwrap())
}
