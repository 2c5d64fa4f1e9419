//! Any answer can be read; of any DAG, a code location can be made.
#![no_main]
#![allow(dead_code, reason = "only the names and the manifest are tested here")]

#[path = "../../crates/tobiko_facade/src/manifest/mod.rs"]
mod manifest;
#[path = "../../crates/tobiko_facade/src/properties/sound.rs"]
mod sound;

use libfuzzer_sys::fuzz_target;
use manifest::Manifest;
use tobiko_api::records::{Record, RecordReader};
use tobiko_api::{Dag, Evaluation, Run};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (dags, runs, evaluations) = (list::<Dag>(text), list::<Run>(text), list::<Evaluation>(text));
    assert_eq!(dags.is_some(), runs.is_some());
    for dag in dags.into_iter().flatten() {
        let manifest = Manifest::new("prod", Some(&dag), None);
        sound::check(&manifest);
        sound::check(&Manifest::new("prod", Some(&dag), Some("cloud")));
        let mut reversed = dag;
        reversed.nodes.reverse();
        assert_eq!(Manifest::new("prod", Some(&reversed), None).fingerprint, manifest.fingerprint);
    }
    for run in runs.into_iter().flatten() {
        assert!(!run.run_id.is_empty());
        assert!(!run.ended_well() || run.ended());
    }
    for evaluation in evaluations.into_iter().flatten() {
        assert!(!evaluation.evaluation_id.is_empty() && !evaluation.node_name.is_empty());
        assert!(!evaluation.ended_well() || !evaluation.failed());
    }
});

/// What the client makes of an answer; `None`: it is no JSON. Read as a whole and in chunks: it must be the same.
fn list<T: Record + PartialEq>(text: &str) -> Option<Vec<T>> {
    let read = |length: usize| {
        let mut reader = RecordReader::<T, Vec<T>>::new(Vec::new());
        text.as_bytes().chunks(length).for_each(|chunk| reader.feed(chunk));
        reader.end().ok()
    };
    let (whole, chunks) = (read(text.len().max(1)), read(1 + text.len() % 37));
    assert_eq!(whole.is_some(), chunks.is_some(), "it depends on the chunks whether it is JSON");
    let (whole, chunks) = (whole?, chunks?);
    assert!(whole.list == chunks.list && whole.received == chunks.received);
    assert!(whole.unrecognized == chunks.unrecognized);
    assert!(whole.list.len() <= whole.received, "more records than items");
    assert!(!whole.unrecognized || whole.received == 1, "an unrecognized object among others");
    Some(whole.list)
}
