//! Any answer can be read; of any DAG, a code location can be made.
#![no_main]
#![allow(dead_code, reason = "only the names and the manifest are tested here")]

#[path = "../../crates/tobiko_facade/src/manifest/mod.rs"]
mod manifest;
#[path = "../../crates/tobiko_facade/src/report"]
mod report {
    pub mod truncate;
}
#[path = "../../crates/tobiko_facade/src/properties/sound.rs"]
mod sound;

use libfuzzer_sys::fuzz_target;
use manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (dags, runs, evaluations) = tobiko_client::read(text);
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
