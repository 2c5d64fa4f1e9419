//! `serve --scenario` as a process, and `poll` against what its faults make of `since_run_id`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{json as json_of, run, stderr, tick};
use crate::scripted::{Served, file};

const THREE_RUNS: &str = "
environments: [{nodes: [{name: a}]}]
runs: [{id: r1, start_s: -300}, {id: r2, start_s: -200}, {id: r3, start_s: -100}]
";

/// The ids of the runs since `since`, and the whole answer.
async fn poll(served: &Served, since: &str) -> (Vec<String>, Value) {
    let output = run(&["poll", "--since", since], &[("TCLOUD_BASE_URL", served.url("base_url"))]).await;
    let answer = json_of(&output);
    let ids = answer["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned());
    (ids.collect(), answer)
}

/// Also when it is ended as soon as it has said where it is.
#[tokio::test]
async fn what_a_scenario_has_played_goes_with_the_process() {
    for settled in [true, false] {
        let mut served = Served::launch(THREE_RUNS, &[]).await;
        for which in ["base_url", "token_url", "control_url"] {
            assert!(served.url(which).starts_with("http://127.0.0.1:"), "{}", served.places);
        }
        if settled {
            served.settled().await;
        }
        let files = || std::fs::read_dir(served.folder.path()).unwrap().count();
        assert_eq!(files(), 2, "the scenario's file and the temporary folder");
        let interrupt = ["-INT".to_owned(), served.process.id().unwrap().to_string()];
        tokio::process::Command::new("kill").args(interrupt).status().await.unwrap();
        let status = served.process.wait().await.unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(files(), 1);
    }
}

#[tokio::test]
async fn a_slip_in_the_file_is_a_bad_usage_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let slip = file(&folder, "runs: [{strat_s: 5}]");
    let check = async |arguments: &[&str], expected: &str| {
        let output = run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(), &[]).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    check(&["--scenario", &slip], "strat_s").await;
    check(&["--scenario", "/no/such/file.yaml"], "/no/such/file.yaml").await;
    check(&["--control", "127.0.0.1:0"], "--scenario").await;
    std::fs::write(&slip, "{}").unwrap();
    check(&["--scenario", &slip, "--control", "0.0.0.0:0"], "loopback").await;
}

#[tokio::test]
async fn news_are_the_same_whatever_since_run_id_means() {
    let served = Served::start(THREE_RUNS).await;
    for since in [None, Some("included"), Some("ignored"), Some("unknown")] {
        if let Some(since) = since {
            served.order("faults", json!({"do": {"since_run_id": since}})).await;
        }
        let (news, answer) = poll(&served, "r1").await;
        assert_eq!((news, &answer["since_known"]), (vec!["r2".to_owned(), "r3".to_owned()], &json!(true)), "{since:?}");
        assert_eq!(poll(&served, "r3").await.0, Vec::<String>::new(), "{since:?}");
        served.no_faults().await;
    }
}

#[tokio::test]
async fn the_next_runs_are_mirrored_whatever_since_run_id_means() {
    let served = Served::start(THREE_RUNS).await;
    for since in [None, Some("included"), Some("ignored"), Some("unknown")] {
        if let Some(since) = since {
            served.order("faults", json!({"do": {"since_run_id": since}})).await;
        }
        // The runs are numbered from 1 on.
        let cursor = json!({"version": 1, "synced": true, "last": "r1", "seq": 1, "plan_seq": 0}).to_string();
        let news = tick(served.url("base_url"), "prod", json!({"cursor": cursor})).await;
        let reply = &news.get("reload").map_or(&news["reply"], |reload| &reload["not_done"]);
        let keys = reply["requests"].as_array().unwrap().iter().map(|request| request["run_key"].as_str().unwrap());
        assert_eq!(keys.collect::<Vec<_>>(), ["r2", "r3"], "{since:?}: {news}");
        served.no_faults().await;
    }
}

#[tokio::test]
async fn a_run_that_the_cloud_has_forgotten_is_known_for_that() {
    let served = Served::start(THREE_RUNS).await;
    served.order("forget", json!({"run_id": "r1"})).await;
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let (news, answer) = poll(&served, "r1").await;
        if answer["since_known"] == false {
            assert_eq!(news, ["r3"]);
            return;
        }
        assert!(Instant::now() < until, "{answer}");
    }
}

#[tokio::test]
async fn a_poll_during_an_outage_gives_up_within_20_seconds() {
    let check = async |fault: Value| {
        let served = Served::start(THREE_RUNS).await;
        served.order("faults", json!({"do": fault})).await;
        let begun = Instant::now();
        let output = run(&["poll"], &[("TCLOUD_BASE_URL", served.url("base_url"))]).await;
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    };
    tokio::join!(check(json!({"slow_headers": 60})), check(json!("refuse")));
}
