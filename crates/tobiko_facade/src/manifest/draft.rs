//! The nodes of a DAG on their way to a manifest: each step fills in one more field of all of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use tobiko_api::{DagAudit, DagNode, NodeType, truncate_middle};

use super::names::{check_name, check_name_with_arguments, digest, distinct, key_parts, op_name, with_suffix};
use super::{Check, LONGEST_QUERY};

pub struct Draft<'d> {
    pub dag_node: &'d DagNode,
    /// The asset key. A standalone audit has no asset: its key only stands for its name.
    pub key: Vec<String>,
    /// Positions of the parents that are nodes, in ascending order.
    pub parents: Vec<usize>,
    /// Keys of the parents that are no nodes: assets of somebody else's.
    pub external_parents: Vec<Vec<String>>,
    pub op: String,
    pub checks: Vec<Check>,
}

impl Draft<'_> {
    pub fn is_model(&self) -> bool {
        self.dag_node.node_type != NodeType::Audit
    }

    fn name(&self) -> &str {
        &self.dag_node.name
    }
}

/// All nodes by name, complete. What had to be left out is said in `warnings`.
pub fn drafts<'d>(nodes: &'d [DagNode], warnings: &mut Vec<String>) -> Vec<Draft<'d>> {
    let mut drafts = distinct_nodes(nodes, warnings);
    make_keys_distinct(&mut drafts);
    find_parents(&mut drafts);
    cut_cycles(&mut drafts, warnings);
    let ops = distinct_ops(drafts.iter().map(|draft| (draft.key.as_slice(), draft.name())));
    for (draft, op) in drafts.iter_mut().zip(ops) {
        draft.op = op;
    }
    add_checks(&mut drafts);
    drafts
}

/// The ops of (parts, full name), all different.
pub fn distinct_ops<'a>(names: impl Iterator<Item = (&'a [String], &'a str)>) -> Vec<String> {
    let plain: Vec<(String, &str)> = names.map(|(parts, full)| (op_name(parts, full), full)).collect();
    distinct(&plain, |name, full, digits| with_suffix(name, full, digits))
}

/// The nodes by name, each once.
fn distinct_nodes<'d>(nodes: &'d [DagNode], warnings: &mut Vec<String>) -> Vec<Draft<'d>> {
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
    let draft = |dag_node: &'d DagNode| Draft {
        dag_node,
        key: key_parts(&dag_node.name),
        parents: Vec::new(),
        external_parents: Vec::new(),
        op: String::new(),
        checks: Vec::new(),
    };
    sorted.into_iter().map(draft).collect()
}

/// Two models whose names have the same parts get different keys.
fn make_keys_distinct(drafts: &mut [Draft]) {
    let models: Vec<(Vec<String>, &str)> = drafts
        .iter()
        .filter(|draft| draft.is_model())
        .map(|draft| (draft.key.clone(), draft.dag_node.name.as_str()))
        .collect();
    let keys = distinct(&models, |key, full, digits| {
        let mut key = key.clone();
        if let Some(last) = key.last_mut() {
            *last = format!("{last}_{}", &digest(full)[..digits]);
        }
        key
    });
    for (draft, key) in drafts.iter_mut().filter(|draft| draft.is_model()).zip(keys) {
        draft.key = key;
    }
}

/// A parent that is no node may be a node that is written in another way; else it is an asset of somebody else's.
fn find_parents(drafts: &mut [Draft]) {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut by_key: HashMap<Vec<String>, usize> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        by_name.insert(&draft.dag_node.name, at);
        // The keys of models are all different. A standalone audit's counts where no model has it.
        if draft.is_model() {
            by_key.insert(draft.key.clone(), at);
        } else {
            by_key.entry(draft.key.clone()).or_insert(at);
        }
    }
    for draft in drafts {
        for parent in &draft.dag_node.parent_names {
            let key = key_parts(parent);
            match by_name.get(parent.as_str()).or_else(|| by_key.get(&key)) {
                Some(at) if !draft.parents.contains(at) => draft.parents.push(*at),
                None if !draft.external_parents.contains(&key) => draft.external_parents.push(key),
                _ => {}
            }
        }
        draft.parents.sort_unstable();
        draft.external_parents.sort_unstable();
    }
}

/// Takes out the edges that close a cycle.
fn cut_cycles(drafts: &mut [Draft], warnings: &mut Vec<String>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Pending,
        OnPath,
        Finished,
    }
    let mut visits = vec![Visit::Pending; drafts.len()];
    for root in 0..drafts.len() {
        // A path of (node, next parent to visit), instead of recursion: a project may be thousands of models deep.
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if visits[node] == Visit::Finished {
                path.pop();
                continue;
            }
            visits[node] = Visit::OnPath;
            match drafts[node].parents.get(*next).copied() {
                None => visits[node] = Visit::Finished,
                Some(parent) if visits[parent] == Visit::OnPath => {
                    drafts[node].parents.remove(*next);
                    let (child, parent) = (drafts[node].name(), drafts[parent].name());
                    warnings.push(format!("{child} depends on itself by way of {parent}: that edge is left out"));
                }
                Some(parent) => {
                    *next += 1;
                    path.push((parent, 0));
                }
            }
        }
    }
}

/// Checks are a model's own audits, then the standalone ones that cover it, each by its own name; two that would get the same
/// name are made to differ.
fn add_checks(drafts: &mut [Draft]) {
    let mut audits: Vec<Vec<Audit>> = Vec::with_capacity(drafts.len());
    for draft in drafts.iter() {
        audits.push(if draft.is_model() { own_audits(draft.dag_node) } else { Vec::new() });
    }
    for draft in drafts.iter().filter(|draft| !draft.is_model()) {
        let node = draft.dag_node;
        let audit = Audit { name: &node.name, node, details: node.audits.first(), is_repeated: false };
        for parent in draft.parents.iter().filter(|parent| drafts[**parent].is_model()) {
            audits[*parent].push(audit);
        }
    }
    let checks: Vec<Vec<Check>> = audits.iter().map(|audits| distinct_checks(audits)).collect();
    for (draft, checks) in drafts.iter_mut().zip(checks) {
        draft.checks = checks;
    }
}

/// An audit as one model has it.
#[derive(Clone, Copy)]
struct Audit<'d> {
    name: &'d str,
    /// The model itself, or the standalone audit.
    node: &'d DagNode,
    /// Where the cloud says more than the name.
    details: Option<&'d DagAudit>,
    /// The model has the audit with other arguments before this.
    is_repeated: bool,
}

/// A model's audits by name; one that is there with several arguments in the order in which its author wrote them, so that a
/// new one at the end changes no name.
fn own_audits(node: &DagNode) -> Vec<Audit<'_>> {
    let names: BTreeSet<&str> =
        node.audit_names.iter().chain(node.audits.iter().map(|audit| &audit.name)).map(String::as_str).collect();
    let mut audits = Vec::with_capacity(names.len());
    for name in names {
        let mut seen = HashSet::new();
        let of_name = node.audits.iter().filter(|audit| audit.name == name && seen.insert(&audit.args));
        let mut details: Vec<Option<&DagAudit>> = of_name.map(Some).collect();
        if details.is_empty() {
            details.push(None);
        }
        let audit = |(at, details)| Audit { name, node, details, is_repeated: at > 0 };
        audits.extend(details.into_iter().enumerate().map(audit));
    }
    audits
}

/// The checks of one model.
fn distinct_checks(audits: &[Audit]) -> Vec<Check> {
    // The same audit name twice is an own audit and a standalone one, which differ in the node, or has other arguments.
    let full: Vec<String> = audits.iter().map(Audit::full_name).collect();
    let plain: Vec<(String, &str)> =
        audits.iter().zip(&full).map(|(audit, full)| (audit.check_name(), full.as_str())).collect();
    let names = distinct(&plain, |name, full, digits| with_suffix(name, full, digits));
    names.into_iter().zip(audits).map(|(name, audit)| audit.check(name)).collect()
}

impl Audit<'_> {
    fn arguments(&self) -> Option<&str> {
        self.details.and_then(|details| details.args.as_deref())
    }

    fn check_name(&self) -> String {
        if self.is_repeated {
            check_name_with_arguments(self.name, self.arguments().unwrap_or_default())
        } else {
            check_name(self.name)
        }
    }

    fn full_name(&self) -> String {
        let (node, audit) = (&self.node.name, self.name);
        if self.is_repeated {
            format!("{node:?} {audit:?} {:?}", self.arguments().unwrap_or_default())
        } else {
            format!("{node:?} {audit:?}")
        }
    }

    fn check(&self, name: String) -> Check {
        let standalone = Some(self.node).filter(|node| node.is_audit());
        let description = standalone.and_then(|node| node.description.as_deref()).map(str::trim);
        Check {
            name,
            audit: self.name.to_owned(),
            node: self.node.name.clone(),
            // Whole: a result is compared with it.
            arguments: self.arguments().map(str::to_owned),
            blocking: self.details.and_then(|details| details.blocking),
            query: self.details.and_then(|details| details.query.as_deref()).map(short),
            description: description.map(short),
            link: standalone.and_then(|node| node.link.clone()),
        }
    }
}

fn short(text: &str) -> String {
    truncate_middle(text, LONGEST_QUERY).into_owned()
}
