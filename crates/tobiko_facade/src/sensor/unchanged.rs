//! Whether a remote run may be mirrored by the job as it was loaded, although models were added, removed or changed since: it has
//! ended, and everything that Dagster declares of the nodes that it evaluated, or was to evaluate, is as it was.
//!
//! What is loaded is known from the manifest that the code location kept on disk when it was loaded.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tobiko_client::{Client, Evaluation};

use super::new_runs::NewRun;
use crate::manifest::Manifest;

/// A tick has 20 s for everything: where this takes longer, the reload costs another tick.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Two requests. `kept`: the manifest on disk, which counts if it has the fingerprint `loaded`. Where that is not known, or the
/// cloud does not say, nothing may be assumed.
pub async fn is_unchanged(
    client: &Client,
    next: &NewRun,
    kept: &Value,
    loaded: Option<&str>,
    current: &Manifest,
) -> bool {
    if !next.ended || loaded.is_none() || kept["fingerprint"].as_str() != loaded {
        return false;
    }
    match tokio::time::timeout(TIME_LIMIT, nodes_of(client, &next.run_id)).await {
        Ok(Ok(nodes)) => are_unchanged(&nodes, kept, current),
        Ok(Err(error)) => {
            tracing::debug!("what run {} evaluated is not known: {error:#}", next.run_id);
            false
        }
        Err(_) => false,
    }
}

async fn nodes_of(client: &Client, run_id: &str) -> Result<BTreeSet<String>> {
    let run = client.run(run_id).await.context("cannot get the run")?.context("the cloud does not know it")?;
    let NodeNames(mut nodes) =
        client.run_evaluations(run_id, None, NodeNames::default).await.context("cannot get the run's evaluations")?;
    nodes.extend(run.due_node_names.unwrap_or_default());
    Ok(nodes)
}

/// Of evaluations, the names of their nodes: there may be very many, with long logs.
#[derive(Debug, Default)]
struct NodeNames(BTreeSet<String>);

impl Extend<Evaluation> for NodeNames {
    fn extend<I: IntoIterator<Item = Evaluation>>(&mut self, evaluations: I) {
        self.0.extend(evaluations.into_iter().map(|evaluation| evaluation.node_name));
    }
}

fn are_unchanged(nodes: &BTreeSet<String>, kept: &Value, current: &Manifest) -> bool {
    let kept = kept["nodes"].as_array().into_iter().flatten();
    let kept: HashMap<&str, &Value> = kept.filter_map(|node| Some((node["name"].as_str()?, node))).collect();
    let current: HashMap<&str, _> = current.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    nodes.iter().map(String::as_str).all(|name| match (kept.get(name), current.get(name)) {
        (Some(before), Some(now)) => serde_json::to_value(now).is_ok_and(|now| now == **before),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::dag;

    #[track_caller]
    fn check(before: &[&str], now: &[&str], evaluated: &str, expected: bool) {
        let manifest = |nodes: &[&str]| Manifest::new("prod", Some(&dag(nodes)), Some("prefix"));
        let kept = serde_json::to_value(manifest(before)).unwrap();
        let nodes = evaluated.split_whitespace().map(str::to_owned).collect();
        assert_eq!(are_unchanged(&nodes, &kept, &manifest(now)), expected, "{before:?} -> {now:?}: {evaluated}");
    }

    #[test]
    fn only_what_the_run_evaluated_has_to_be_as_it_was() {
        let before = ["a", "b < a", "~audit < b"];
        check(&before, &["a", "b < a", "~audit < b", "c < a"], "a b audit", true);
        check(&before, &["a", "b < a"], "a", true);
        check(&before, &["a", "b < a", "~audit < b"], "", true);
    }

    #[test]
    fn a_node_that_is_new_gone_or_wired_otherwise_is_not_as_it_was() {
        check(&["a"], &["a", "b < a"], "a b", false);
        check(&["a", "b < a"], &["a"], "a b", false);
        check(&["a", "b"], &["a", "b < a"], "b", false);
        check(&["a"], &["%a"], "a", false);
        // Its check is an audit that is new.
        check(&["a"], &["a", "~audit < a"], "a", false);
    }

    #[test]
    fn a_kept_manifest_that_is_none_says_nothing() {
        let current = Manifest::new("prod", Some(&dag(&["a"])), None);
        for kept in [Value::Null, serde_json::json!({"nodes": 5}), serde_json::json!({"nodes": [5, {"name": "b"}]})] {
            assert!(!are_unchanged(&BTreeSet::from(["a".to_owned()]), &kept, &current), "{kept}");
        }
    }
}
