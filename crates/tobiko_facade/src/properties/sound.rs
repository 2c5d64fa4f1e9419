//! What Dagster requires of a manifest. The fuzz targets check their manifests with this, too.

use std::collections::{HashMap, HashSet};

use crate::manifest::names::{LONGEST_NAME, RESERVED};
use crate::manifest::{Manifest, Node};

/// Panics where a code location could not be made of `manifest`.
pub fn check(manifest: &Manifest) {
    let names: HashSet<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names.len(), manifest.nodes.len(), "a node comes twice");
    differ(manifest.nodes.iter().map(|node| node.op.as_str()), "ops");
    differ(manifest.nodes.iter().filter_map(|node| node.key.as_ref()), "asset keys");
    for node in &manifest.nodes {
        check_op_name(&node.op);
        for key in node.key.iter().chain(&node.deps) {
            assert!(!key.is_empty() && key.iter().all(|part| !part.is_empty()), "{}: empty key part", node.name);
        }
        assert_eq!(node.key.is_none(), node.r#type == "audit", "{}", node.name);
        differ(node.checks.iter().map(|check| check.name.as_str()), "checks");
        for check in &node.checks {
            check_check_name(&check.name);
        }
        differ(&node.parents, "parents");
        differ(&node.deps, "deps");
        assert!(
            node.parents.iter().all(|parent| names.contains(parent.as_str())),
            "{}: a parent is no node",
            node.name
        );
    }
    let parents = manifest.nodes.iter().map(|node| (node.name.as_str(), texts(&node.parents))).collect();
    assert!(is_acyclic(&parents), "a cycle of nodes");
    let joined = |key: &Vec<String>| format!("{key:?}");
    let with_key = |node: &Node| node.key.as_ref().map(|key| (joined(key), node.deps.iter().map(joined).collect()));
    let deps: HashMap<String, Vec<String>> = manifest.nodes.iter().filter_map(with_key).collect();
    assert!(is_acyclic(&deps.iter().map(|(key, deps)| (key.as_str(), texts(deps))).collect()), "a cycle of assets");
}

pub fn check_op_name(name: &str) {
    assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "op {name:?}");
    assert!(!RESERVED.contains(&name) && name.len() <= LONGEST_NAME, "op {name:?}");
}

pub fn check_check_name(name: &str) {
    assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c)), "check {name:?}");
    assert!(!RESERVED.contains(&name) && name.len() <= LONGEST_NAME, "check {name:?}");
}

fn differ<T: std::hash::Hash + Eq + std::fmt::Debug>(things: impl IntoIterator<Item = T>, what: &str) {
    let mut seen = HashSet::new();
    for thing in things {
        let shown = format!("{thing:?}");
        assert!(seen.insert(thing), "two {what} are the same: {shown}");
    }
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Takes away, again and again, what depends on nothing that is left.
fn is_acyclic(graph: &HashMap<&str, Vec<&str>>) -> bool {
    let mut left: HashSet<&str> = graph.keys().copied().collect();
    loop {
        let free: Vec<&str> =
            left.iter().copied().filter(|name| graph[name].iter().all(|parent| !left.contains(parent))).collect();
        if free.is_empty() {
            return left.is_empty();
        }
        for name in free {
            left.remove(name);
        }
    }
}
