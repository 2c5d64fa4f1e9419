//! Every failure is one sentence that names the thing, and the documented exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use tokio::net::TcpListener;

use crate::cloud::Cloud;
use crate::process::{command, run, stderr, stdout};

/// Fails with that code, and says so in one line that has all of `words`, and no secret.
#[track_caller]
fn check_failure(output: &std::process::Output, code: i32, words: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    for word in words {
        assert!(errors[0].contains(word), "no {word:?} in {stderr}");
    }
    assert!(!stderr.contains("hush") && !stderr.contains("panicked"), "{stderr}");
}

#[tokio::test]
async fn no_base_url_names_its_variable() {
    check_failure(&run(&["check"], &[]).await, 2, &["TCLOUD_BASE_URL"]);
    check_failure(&run(&["poll"], &[("TCLOUD_BASE_URL", "cloud")]).await, 2, &["TCLOUD_BASE_URL"]);
}

#[tokio::test]
async fn token_and_client_together_are_refused() {
    let environment = [("TCLOUD_BASE_URL", "http://127.0.0.1:9"), ("TCLOUD_TOKEN", "hush"), ("TCLOUD_CLIENT_ID", "me")];
    check_failure(&run(&["check"], &environment).await, 2, &["TCLOUD_TOKEN", "TCLOUD_CLIENT_ID"]);
}

#[tokio::test]
async fn nobody_there_is_3() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let environment = [("TCLOUD_BASE_URL", base_url.as_str()), ("TOBIKO_FACADE_CALL_LIMIT_S", "1")];
    check_failure(&run(&["definitions"], &environment).await, 3, &[&base_url]);
}

#[tokio::test]
async fn a_wrong_secret_is_4_and_names_the_variables() {
    let cloud = Cloud::start_for(Some(("me", "right"))).await;
    let environment =
        [("TCLOUD_BASE_URL", cloud.base_url.as_str()), ("TCLOUD_CLIENT_ID", "me"), ("TCLOUD_CLIENT_SECRET", "hush")];
    check_failure(&run(&["check"], &environment).await, 4, &["TCLOUD_CLIENT_ID", "TCLOUD_CLIENT_SECRET"]);
}

#[tokio::test]
async fn an_unknown_environment_is_5() {
    let cloud = Cloud::start().await;
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    check_failure(&run(&["check", "-e", "nowhere"], &environment).await, 5, &["nowhere"]);
    check_failure(&run(&["mirror", "-e", "nowhere"], &environment).await, 5, &["nowhere"]);
    check_failure(&run(&["mirror", "--run-id", "gone"], &environment).await, 5, &["no run 'gone' in prod"]);
    check_failure(&run(&["sync", "-e", "nowhere"], &environment).await, 5, &["nowhere"]);
    check_failure(&run(&["poll", "-e", "nowhere"], &environment).await, 5, &["nowhere"]);
    check_failure(&run(&["forget", "-e", "nowhere"], &environment).await, 5, &["nowhere"]);
}

#[tokio::test]
async fn a_mistyped_name_is_5_and_gets_the_nearest_one() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "success", None).await;
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    check_failure(&run(&["poll", "-e", "prd"], &environment).await, 5, &["'prd'", "did you mean 'prod'?"]);
    check_failure(&run(&["sync", "--node", "shop.nope"], &environment).await, 5, &["'shop.nope'"]);
    check_failure(&run(&["mirror", "--node", "shop.nope"], &environment).await, 5, &["'shop.nope'"]);
    for command in ["sync", "mirror"] {
        // As the terminal prints it, which is not as the cloud names it.
        let output = run(&[command, "--node", "\"a\""], &environment).await;
        assert!(output.status.success() && stdout(&output).contains("✓ a"), "{output:?}");
    }
}

#[tokio::test]
async fn check_says_which_cloud_it_is() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    let output = run(&["check"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await;
    assert!(output.status.success() && stdout(&output).contains("✓ cloud: a local cloud"), "{output:?}");
}

#[tokio::test]
async fn quiet_is_quiet() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "failed", Some("broken")).await;
    let output = run(&["-q", "mirror"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await;
    assert_eq!((output.status.code(), stdout(&output).as_str(), stderr(&output).as_str()), (Some(6), "", ""));
}

#[tokio::test]
async fn a_page_instead_of_the_api_is_5_and_names_the_base_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let page = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { (StatusCode::NOT_FOUND, Html("<html>not here</html>")) }
    };
    tokio::spawn(axum::serve(listener, Router::new().fallback(page)).into_future());
    let environment = [("TCLOUD_BASE_URL", base_url.as_str()), ("TCLOUD_TOKEN", "hush")];
    check_failure(&run(&["definitions"], &environment).await, 5, &["TCLOUD_BASE_URL"]);
    assert_eq!(requests.load(Ordering::SeqCst), 1, "it is said at once");
}

#[tokio::test]
async fn a_failed_run_is_6_at_the_terminal() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "failed", Some("no such table: raw")).await;
    let output = run(&["mirror"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await;
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let stdout = stdout(&output);
    assert!(stdout.contains("✗ a") && stdout.contains("no such table: raw") && stdout.contains("- b"), "{stdout}");
}

#[tokio::test]
async fn a_successful_run_is_0() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "success", None).await;
    let output = run(&["mirror"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("✓ a  2.0 s, 1 check passed"), "{}", stdout(&output));
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_it_with_130() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    let started = serde_json::json!({"type": "run_started", "run_id": "r1", "environment": "prod"});
    let open = serde_json::json!({"type": "evaluation_started", "evaluation_id": "e", "run_id": "r1", "environment": "prod",
        "node_name": "a", "version": "1", "interval_start": null, "interval_end": null});
    cloud.feed(&[started, open]).await;
    let mut command = command(&["mirror"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It has begun when it says which run it follows.
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut first).await.unwrap();
    assert!(first.contains("r1"), "{first}");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    check_failure(&output, 130, &["error: interrupted; the remote run continues untouched"]);
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_in_check_speaks_of_no_run() {
    use tokio::io::AsyncReadExt;
    // A server that takes the request and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let mut command = command(&["check"], &[("TCLOUD_BASE_URL", base_url.as_str()), ("TCLOUD_TOKEN", "hush")]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let (mut connection, _) = listener.accept().await.unwrap();
    connection.read_u8().await.unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let errors: Vec<String> =
        stderr(&output).lines().filter(|line| line.contains("error")).map(str::to_owned).collect();
    assert_eq!(errors, ["error: interrupted"]);
}

#[tokio::test]
async fn failures_are_repeated_at_the_end_of_a_long_run() {
    let cloud = Cloud::start().await;
    let lines = async |models: usize| {
        cloud.feed_run_of_many(&format!("of-{models}"), models).await;
        let output =
            run(&["mirror", "--run-id", &format!("of-{models}")], &[("TCLOUD_BASE_URL", &cloud.base_url)]).await;
        assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
        stdout(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let short = lines(20).await;
    assert_eq!(short.iter().filter(|line| line.starts_with('✗')).count(), 1, "it has not scrolled away: {short:#?}");
    let long = lines(21).await;
    let at = long.iter().position(|line| line == "failures, once more:").unwrap();
    let before = long[..at].iter().filter(|line| line.starts_with('✗')).count();
    let repeated: Vec<&str> =
        long[at + 1..].iter().take_while(|line| !line.starts_with("failed")).map(String::as_str).collect();
    assert_eq!(before, 1, "{long:#?}");
    assert!(repeated[0].starts_with("✗ m00") && repeated[1].contains("m00 broke"), "{repeated:?}");
    assert!(!repeated.iter().any(|line| line.starts_with('✓')), "{repeated:?}");
}

#[tokio::test]
async fn a_local_cloud_forgets_an_environment_when_asked() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "success", None).await;
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    let output = run(&["forget", "-e", "prod"], &environment).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), "forgot the environment 'prod': it comes back with its next plan\n");
    check_failure(&run(&["check"], &environment).await, 5, &["there is no environment 'prod'"]);
    check_failure(&run(&["mirror", "--run-id", "r1"], &environment).await, 5, &["no run 'r1' in prod"]);
    check_failure(&run(&["forget", "-e", "prod"], &environment).await, 5, &["nothing is forgotten"]);
}
