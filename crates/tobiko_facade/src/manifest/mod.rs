//! What Dagster declares for an environment: one asset for each model, one check for each audit, one op for each node.
//! The only place where the cloud's names become Dagster's; no project, however odd, makes it fail, and the order in which the
//! cloud lists things changes nothing.

pub mod names;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use tobiko_client::{Dag, DagNode, NodeType, SourceType};

use crate::report::truncate::cut;
use names::{check_name, digest, digest_of_json, distinct, key_parts, op_name, with_suffix};

/// Longest description that an asset carries, in bytes.
const LONGEST_DESCRIPTION: usize = 16 * 1024;

/// What `tobiko-facade definitions` prints. The Python package declares it as it stands.
#[derive(Debug, Serialize)]
pub struct Manifest {
    pub version: u32,
    pub environment: String,
    /// Whether the cloud knows the environment. If not, there are no nodes.
    pub exists: bool,
    /// Changes when anything but the prefix changes.
    pub fingerprint: String,
    pub link: Option<String>,
    pub warnings: Vec<String>,
    /// By name.
    pub nodes: Vec<Node>,
}

/// A model or a standalone audit.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// As the cloud names it.
    pub name: String,
    pub r#type: &'static str,
    /// The asset's key; a standalone audit has none.
    pub key: Option<Vec<String>>,
    pub op: String,
    /// Names of nodes of this manifest, without cycles.
    pub parents: Vec<String>,
    /// Keys of the assets upstream, those that are no nodes among them.
    pub deps: Vec<Vec<String>>,
    pub kind: Option<&'static str>,
    pub description: String,
    pub link: Option<String>,
    /// The model's own audits, then the standalone ones that cover it.
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: String,
    pub audit: String,
    /// The node whose evaluations bring its results: the model, or the standalone audit.
    pub node: String,
}

impl Manifest {
    /// The manifest of an environment; `None` for a DAG that the cloud does not have.
    pub fn new(environment: &str, dag: Option<&Dag>, prefix: Option<&str>) -> Self {
        let mut manifest = Self::build(environment, dag);
        manifest.fingerprint = digest_of_json(&(manifest.exists, &manifest.nodes));
        manifest.below(prefix)
    }

    /// The same for those who do not need the fingerprint, which is much work.
    pub fn without_fingerprint(environment: &str, dag: Option<&Dag>, prefix: Option<&str>) -> Self {
        Self::build(environment, dag).below(prefix)
    }

    fn below(mut self, prefix: Option<&str>) -> Self {
        if let Some(prefix) = prefix {
            self.put_below(prefix);
        }
        self
    }

    fn build(environment: &str, dag: Option<&Dag>) -> Self {
        let mut warnings = Vec::new();
        if dag.is_none() {
            warnings.push("it does not exist in Tobiko Cloud (yet): its models are declared when it does".to_owned());
        }
        let nodes: Vec<&DagNode> = unique(dag.map_or(&[], |dag| dag.nodes.as_slice()), &mut warnings);
        let keys = keys(&nodes);
        let by_name: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let mut by_key: HashMap<&[String], usize> = HashMap::new();
        for (at, key) in keys.iter().enumerate() {
            // The keys of models are all different. A standalone audit's counts where no model has it.
            match is_model(nodes[at]) {
                true => drop(by_key.insert(key, at)),
                false => drop(by_key.entry(key).or_insert(at)),
            }
        }

        // A parent that is no node may be a node that is written in another way; else it is an asset of somebody else's.
        let mut parents: Vec<Vec<usize>> = Vec::new();
        let mut strangers: Vec<Vec<Vec<String>>> = Vec::new();
        for node in &nodes {
            let (mut known, mut unknown) = (Vec::new(), Vec::new());
            for parent in &node.parent_names {
                let key = key_parts(parent);
                match by_name.get(parent.as_str()).or_else(|| by_key.get(key.as_slice())) {
                    Some(at) if !known.contains(at) => known.push(*at),
                    None if !unknown.contains(&key) => unknown.push(key),
                    _ => {}
                }
            }
            known.sort_unstable();
            unknown.sort_unstable();
            parents.push(known);
            strangers.push(unknown);
        }
        cut_cycles(&mut parents, |child, parent| {
            warnings.push(format!(
                "{} depends on itself by way of {}: that edge is left out",
                nodes[child].name, nodes[parent].name
            ));
        });

        let ops = ops(nodes.iter().zip(&keys).map(|(node, key)| (key.as_slice(), node.name.as_str())));
        let checks = checks(&nodes, &parents);
        let built = nodes.iter().enumerate().map(|(at, node)| {
            let is_model = is_model(node);
            let of_models =
                parents[at].iter().filter(|parent| is_model_at(&nodes, **parent)).map(|parent| keys[*parent].clone());
            Node {
                name: node.name.clone(),
                r#type: if is_model { "model" } else { "audit" },
                key: is_model.then(|| keys[at].clone()),
                op: ops[at].clone(),
                parents: parents[at].iter().map(|parent| nodes[*parent].name.clone()).collect(),
                deps: of_models.chain(strangers[at].iter().cloned()).collect(),
                kind: kind(&node.source_type),
                description: description(node),
                link: node.link.clone(),
                checks: checks[at].clone(),
            }
        });
        let nodes = built.collect();
        Self {
            version: 1,
            environment: environment.to_owned(),
            exists: dag.is_some(),
            fingerprint: String::new(),
            link: dag.and_then(|dag| dag.link.clone()),
            warnings,
            nodes,
        }
    }

    /// Nests every asset below `prefix`, and names the ops after it.
    fn put_below(&mut self, prefix: &str) {
        for key in self.nodes.iter_mut().flat_map(|node| node.key.iter_mut().chain(node.deps.iter_mut())) {
            key.insert(0, prefix.to_owned());
        }
        let of_audit = |node: &Node| [vec![prefix.to_owned()], key_parts(&node.name)].concat();
        let parts: Vec<Vec<String>> =
            self.nodes.iter().map(|node| node.key.clone().unwrap_or_else(|| of_audit(node))).collect();
        let ops = ops(parts.iter().zip(&self.nodes).map(|(parts, node)| (parts.as_slice(), node.name.as_str())));
        for (node, op) in self.nodes.iter_mut().zip(ops) {
            node.op = op;
        }
    }
}

fn is_model(node: &DagNode) -> bool {
    node.node_type != NodeType::Audit
}

fn is_model_at(nodes: &[&DagNode], at: usize) -> bool {
    is_model(nodes[at])
}

/// The nodes by name, each once.
fn unique<'a>(nodes: &'a [DagNode], warnings: &mut Vec<String>) -> Vec<&'a DagNode> {
    let content = |node: &DagNode| {
        let mut node = node.clone();
        [&mut node.parent_names, &mut node.audit_names, &mut node.tags].into_iter().for_each(|list| list.sort());
        serde_json::to_string(&node).unwrap_or_default()
    };
    let mut sorted: Vec<&DagNode> = nodes.iter().collect();
    // Of those that are listed twice, the same one is kept whichever comes first.
    sorted.sort_by(|one, other| one.name.cmp(&other.name).then_with(|| content(one).cmp(&content(other))));
    sorted.dedup_by(|second, first| {
        let is_same = second.name == first.name;
        if is_same {
            warnings.push(format!("{} is listed twice: one of the two is left out", first.name));
        }
        is_same
    });
    sorted
}

/// The asset keys of all nodes. Those of standalone audits only stand for their names.
fn keys(nodes: &[&DagNode]) -> Vec<Vec<String>> {
    let plain: Vec<(Vec<String>, &str)> =
        nodes.iter().map(|node| (key_parts(&node.name), node.name.as_str())).collect();
    let models: Vec<_> =
        plain.iter().zip(nodes).filter(|(_, node)| is_model(node)).map(|(entry, _)| entry.clone()).collect();
    let mut distinct_models = distinct(&models, |key, full, digits| {
        let mut key = key.clone();
        if let Some(last) = key.last_mut() {
            *last = format!("{last}_{}", &digest(full)[..digits]);
        }
        key
    })
    .into_iter();
    let of = |((key, _), node): ((Vec<String>, &str), &&DagNode)| match is_model(node) {
        true => distinct_models.next().unwrap_or(key),
        false => key,
    };
    plain.into_iter().zip(nodes).map(of).collect()
}

/// The ops of (parts, full name), all different.
fn ops<'a>(names: impl Iterator<Item = (&'a [String], &'a str)>) -> Vec<String> {
    let plain: Vec<(String, &str)> = names.map(|(parts, full)| (op_name(parts, full), full)).collect();
    distinct(&plain, |name, full, digits| with_suffix(name, full, digits))
}

/// Takes out the edges that close a cycle, told one by one as (child, parent). `parents[n]` are the parents of node n.
fn cut_cycles(parents: &mut [Vec<usize>], mut told: impl FnMut(usize, usize)) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::No; parents.len()];
    for root in 0..parents.len() {
        // A path of (node, next parent to look at), instead of recursion: a project may be thousands of models deep.
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if seen[node] == Seen::Done {
                path.pop();
                continue;
            }
            seen[node] = Seen::OnPath;
            match parents[node].get(*next).copied() {
                None => seen[node] = Seen::Done,
                Some(parent) if seen[parent] == Seen::OnPath => {
                    parents[node].remove(*next);
                    told(node, parent);
                }
                Some(parent) => {
                    *next += 1;
                    path.push((parent, 0));
                }
            }
        }
    }
}

/// The checks of each node: audits by their own name, made to differ where two names become one.
fn checks(nodes: &[&DagNode], parents: &[Vec<usize>]) -> Vec<Vec<Check>> {
    let mut found: Vec<Vec<(String, String)>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| is_model(node)) {
        let once: BTreeSet<&String> = node.audit_names.iter().collect();
        found[at].extend(once.into_iter().map(|audit| (audit.clone(), node.name.clone())));
    }
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| !is_model(node)) {
        for parent in parents[at].iter().filter(|parent| is_model_at(nodes, **parent)) {
            found[*parent].push((node.name.clone(), node.name.clone()));
        }
    }
    found.iter().map(|audits| distinct_checks(audits)).collect()
}

fn distinct_checks(audits: &[(String, String)]) -> Vec<Check> {
    // The same audit name twice is an own audit and a standalone one: the node tells them apart.
    let full: Vec<String> = audits.iter().map(|(audit, node)| format!("{node:?} {audit:?}")).collect();
    let plain: Vec<(String, &str)> =
        audits.iter().zip(&full).map(|((audit, _), full)| (check_name(audit), full.as_str())).collect();
    let names = distinct(&plain, |name, full, digits| with_suffix(name, full, digits));
    let check =
        |(name, (audit, node)): (String, &(String, String))| Check { name, audit: audit.clone(), node: node.clone() };
    names.into_iter().zip(audits).map(check).collect()
}

fn kind(source: &SourceType) -> Option<&'static str> {
    match source {
        SourceType::Sql | SourceType::Audit => Some("sql"),
        SourceType::Python => Some("python"),
        SourceType::Seed => Some("seed"),
        SourceType::External => Some("table"),
        SourceType::Unknown(_) => None,
    }
}

fn description(node: &DagNode) -> String {
    let text = cut(node.description.as_deref().unwrap_or_default().trim(), LONGEST_DESCRIPTION);
    let link = node.link.as_deref().map(|link| format!("[View in Tobiko Cloud]({link})"));
    let paragraphs: Vec<&str> =
        [text.as_ref(), link.as_deref().unwrap_or_default()].into_iter().filter(|p| !p.is_empty()).collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{dag, node};

    fn manifest(nodes: &[&str]) -> Manifest {
        Manifest::new("prod", Some(&dag(nodes)), None)
    }

    #[track_caller]
    fn check_parents(nodes: &[&str], expected: &[&str]) {
        let told: Vec<String> =
            manifest(nodes).nodes.iter().map(|n| format!("{} < {}", n.name, n.parents.join(" "))).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn parents_that_are_no_nodes_are_deps_only() {
        let manifest = manifest(&["wh.a < other.x"]);
        assert!(manifest.nodes[0].parents.is_empty());
        assert_eq!(manifest.nodes[0].deps, [["other", "x"]]);
    }

    #[test]
    fn a_parent_written_in_another_way_is_the_node() {
        check_parents(&["\"wh\".\"a\"", "b < wh.a"], &["\"wh\".\"a\" < ", "b < \"wh\".\"a\""]);
    }

    #[test]
    fn cycles_and_self_parents_are_cut() {
        check_parents(&["a < a"], &["a < "]);
        check_parents(&["a < c", "b < a", "c < b"], &["a < c", "b < ", "c < b"]);
        assert_eq!(manifest(&["a < b", "b < a"]).warnings.len(), 1);
    }

    #[test]
    fn a_project_ten_thousand_models_deep_is_no_problem() {
        let nodes: Vec<String> = (0..10_000).map(|n| format!("m{n} < m{}", n + 1)).collect();
        let manifest = manifest(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(manifest.nodes.len(), 10_000);
    }

    #[test]
    fn assets_and_ops_that_would_be_the_same_differ() {
        let manifest = manifest(&["\"a-b\"", "ab", "context", "\"x\".y", "x.y"]);
        let ops: HashSet<&str> = manifest.nodes.iter().map(|n| n.op.as_str()).collect();
        let keys: HashSet<Vec<String>> = manifest.nodes.iter().filter_map(|n| n.key.clone()).collect();
        assert_eq!((ops.len(), keys.len()), (5, 5), "{ops:?} {keys:?}");
        assert!(!ops.contains("context"));
    }

    #[test]
    fn checks_are_own_audits_and_standalone_ones() {
        let mut dag = dag(&["a", "b", "~both < a b"]);
        dag.nodes[0].audit_names = vec!["not_null".into(), "not_null".into(), "both".into()];
        let manifest = Manifest::new("prod", Some(&dag), None);
        let of_a: HashSet<&str> = manifest.nodes[0].checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(of_a.len(), 3, "{of_a:?}");
        assert!(of_a.contains("not_null") && !of_a.contains("both"));
        let of_b = &manifest.nodes[1].checks;
        assert_eq!((of_b[0].name.as_str(), of_b[0].node.as_str()), ("both", "both"));
        assert_eq!(manifest.nodes[2].key, None);
    }

    #[test]
    fn the_fingerprint_follows_the_models_and_not_the_prefix() {
        let one = manifest(&["a"]).fingerprint;
        assert_eq!(Manifest::new("prod", Some(&dag(&["a"])), Some("cloud")).fingerprint, one);
        assert_ne!(manifest(&["a", "b"]).fingerprint, one);
        assert_ne!(Manifest::new("prod", None, None).fingerprint, manifest(&[]).fingerprint);
    }

    #[test]
    fn a_prefix_stands_before_every_key_and_op() {
        let manifest = Manifest::new("prod", Some(&dag(&["wh.a", "b < wh.a", "~check < b"])), Some("cloud"));
        assert_eq!(manifest.nodes[2].key.as_deref().unwrap(), ["cloud", "wh", "a"]);
        assert_eq!(manifest.nodes[0].deps, [["cloud", "wh", "a"]]);
        let ops: Vec<&str> = manifest.nodes.iter().map(|n| n.op.as_str()).collect();
        assert_eq!(ops, ["cloud_b", "cloud_check", "cloud_wh_a"]);
    }

    #[test]
    fn descriptions_end_with_the_link() {
        let mut described = node("a");
        described.link = Some("http://a".into());
        assert_eq!(description(&described), "[View in Tobiko Cloud](http://a)");
        described.description = Some("Orders.\n".into());
        assert_eq!(description(&described), "Orders.\n\n[View in Tobiko Cloud](http://a)");
    }
}
