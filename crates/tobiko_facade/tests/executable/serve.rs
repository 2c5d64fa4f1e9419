//! `serve`: what it refuses before anybody learns its address.

use crate::process::{run, stderr};

#[tokio::test]
async fn an_open_server_for_everybody_must_be_intended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.db").to_string_lossy().into_owned();
    let output = run(&["serve", "--listen", "0.0.0.0:0", "--database", &file], &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("whoever reaches 0.0.0.0:0 would have access"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--allow-anonymous"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert!(!folder.path().join("cloud.db").exists());
}

#[tokio::test]
async fn a_database_of_another_application_is_refused_before_the_address_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    // A SQLite file with a mark that is not the local cloud's, without any table.
    let mut bytes = vec![0; 4096];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    bytes[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
    bytes[27] = 1; // changes
    bytes[31] = 1; // pages
    bytes[44..48].copy_from_slice(&4_u32.to_be_bytes());
    bytes[56..60].copy_from_slice(&1_u32.to_be_bytes());
    bytes[68..72].copy_from_slice(&7_u32.to_be_bytes());
    bytes[95] = 1;
    bytes[100] = 13; // an empty leaf
    bytes[105..107].copy_from_slice(&4096_u16.to_be_bytes());
    std::fs::write(&state, &bytes).unwrap();
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--database", &state.to_string_lossy()], &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("state.db: it is a SQLite database of another application"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read(&state).unwrap(), bytes);
}
