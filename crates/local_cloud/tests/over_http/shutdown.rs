//! The end of the server.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::cloud::Cloud;
use crate::events::run;

#[tokio::test]
async fn it_ends_at_once_although_connections_are_kept_alive() {
    let mut cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").started(1)]).await;
    let begun = Instant::now();
    cloud.request_stop();
    cloud.stopped().await.expect("a clean end");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn it_waits_two_seconds_at_most_for_a_request_under_way() {
    let mut cloud = Cloud::start().await;
    let address = cloud.base.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(address).await.expect("a connection");
    let head = "POST /recorder/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9\r\n\r\n";
    slow.write_all(head.as_bytes()).await.expect("sent");
    cloud.get_until_it_answers().await;
    let begun = Instant::now();
    cloud.request_stop();
    cloud.stopped().await.expect("a clean end");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

impl Cloud {
    /// After this the server has seen what was sent before.
    async fn get_until_it_answers(&self) {
        self.page("/healthz").await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").started(1)]).await;
    let mode = std::fs::metadata(cloud.database()).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_database_that_is_none_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "this is no database, but long enough to be taken for one ".repeat(20)).expect("written");
    let cloud = Cloud::start_with(|settings| settings.database = file).await;
    let error = cloud.stopped().await.expect_err("it cannot start");
    assert!(error.to_string().contains("notes.txt"), "{error}");
}
