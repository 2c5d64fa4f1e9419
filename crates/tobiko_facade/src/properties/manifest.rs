//! Any DAG makes a code location.

use proptest::prelude::*;

use super::{odd, sound};
use crate::manifest::Manifest;

fn json(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_project_makes_a_sound_manifest(dag in odd::dag(), prefix in prop::option::of("[a-z./ ]{1,9}")) {
        let manifest = Manifest::new("prod", Some(&dag), prefix.as_deref());
        sound::check(&manifest);
        for node in &dag.nodes {
            prop_assert!(manifest.nodes.iter().any(|told| told.name == node.name), "{} is lost", node.name);
        }
    }

    #[test]
    fn the_order_in_which_the_cloud_lists_things_changes_nothing(
        (dag, shuffled) in odd::dag().prop_flat_map(|dag| {
            let nodes = Just(dag.nodes.clone()).prop_shuffle();
            (Just(dag), nodes)
        }),
    ) {
        let mut other = dag.clone();
        other.nodes = shuffled;
        for node in &mut other.nodes {
            node.parent_names.reverse();
            node.audit_names.reverse();
            node.tags.reverse();
        }
        let manifest = |dag| Manifest::new("prod", Some(dag), None);
        prop_assert_eq!(json(&manifest(&dag)), json(&manifest(&other)));
    }

    #[test]
    fn the_fingerprint_does_not_know_the_prefix(dag in odd::dag(), prefix in "[a-z]{1,3}") {
        let fingerprint = |prefix| Manifest::new("prod", Some(&dag), prefix).fingerprint;
        prop_assert_eq!(fingerprint(None), fingerprint(Some(&prefix)));
    }
}
