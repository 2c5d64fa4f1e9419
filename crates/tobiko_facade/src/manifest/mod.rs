//! What Dagster declares for an environment: one asset for each model, one check for each audit, one op for each node.
//! The only place where the cloud's names become Dagster's; no project, however odd, makes it fail, and the order in which the
//! cloud lists things changes nothing.

pub mod cache;
mod draft;
pub mod find;
pub mod names;

use std::collections::BTreeSet;

use serde::Serialize;
use tobiko_api::{Dag, DagNode, SourceType, truncate_middle};

use draft::{Draft, distinct_ops, drafts};
use names::{digest_of_json, key_parts};

/// Longest description that an asset carries, in bytes.
const LONGEST_DESCRIPTION: usize = 16 * 1024;

/// Longest query, and longest description, that a check carries, in bytes: a project has thousands of checks.
const LONGEST_QUERY: usize = 2 * 1024;

/// What `tobiko-facade definitions` prints. The Python package declares it as it stands.
#[derive(Debug, Serialize)]
pub struct Manifest {
    pub version: u32,
    pub environment: String,
    /// What people call the cloud: "Tobiko Cloud", or "SQLMesh" for a local one.
    pub cloud: &'static str,
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
    /// As the user names it: what is printed for people.
    pub model_name: String,
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
    /// In alphabetical order, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When the model is due, where the cloud says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The model's own audits, then the standalone ones that cover it.
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: String,
    pub audit: String,
    /// The node whose evaluations bring its results: the model, or the standalone audit.
    pub node: String,
    /// As a person reads them. Those of a result must be equal, where one audit is there several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocking: Option<bool>,
    /// As it is written, with its macros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Of a standalone audit, as its author wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The page of a standalone audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
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

    fn build(environment: &str, dag: Option<&Dag>) -> Self {
        let mut warnings = Vec::new();
        if dag.is_none() {
            warnings.push("it does not exist (yet): its models are declared when it does".to_owned());
        }
        let drafts = drafts(dag.map_or(&[], |dag| dag.nodes.as_slice()), &mut warnings);
        Self {
            version: 1,
            environment: environment.to_owned(),
            cloud: "Tobiko Cloud",
            exists: dag.is_some(),
            fingerprint: String::new(),
            link: dag.and_then(|dag| dag.link.clone()),
            warnings,
            nodes: drafts.iter().map(|draft| node(draft, &drafts)).collect(),
        }
    }

    /// Nests every asset below the prefix, and names the ops after it.
    fn below(mut self, prefix: Option<&str>) -> Self {
        let Some(prefix) = prefix else { return self };
        for key in self.nodes.iter_mut().flat_map(|node| node.key.iter_mut().chain(node.deps.iter_mut())) {
            key.insert(0, prefix.to_owned());
        }
        let of_audit = |node: &Node| [vec![prefix.to_owned()], key_parts(&node.name)].concat();
        let parts: Vec<Vec<String>> =
            self.nodes.iter().map(|node| node.key.clone().unwrap_or_else(|| of_audit(node))).collect();
        let ops =
            distinct_ops(parts.iter().zip(&self.nodes).map(|(parts, node)| (parts.as_slice(), node.name.as_str())));
        for (node, op) in self.nodes.iter_mut().zip(ops) {
            node.op = op;
        }
        self
    }
}

impl Node {
    /// A model of data that others load.
    pub fn is_external(&self) -> bool {
        self.kind == Some("table")
    }

    /// What is loaded once, or by others: seldom due in a run.
    pub fn is_seed_or_external(&self) -> bool {
        self.is_external() || self.kind == Some("seed")
    }
}

fn model_name(node: &DagNode) -> &str {
    if node.model_name.is_empty() { &node.name } else { &node.model_name }
}

/// The node that `draft`, one of `all`, has become.
fn node(draft: &Draft, all: &[Draft]) -> Node {
    let parents = || draft.parents.iter().map(|parent| &all[*parent]);
    let model_keys = parents().filter(|parent| parent.is_model()).map(|parent| parent.key.clone());
    Node {
        name: draft.dag_node.name.clone(),
        model_name: model_name(draft.dag_node).to_owned(),
        r#type: if draft.is_model() { "model" } else { "audit" },
        key: draft.is_model().then(|| draft.key.clone()),
        op: draft.op.clone(),
        parents: parents().map(|parent| parent.dag_node.name.clone()).collect(),
        deps: model_keys.chain(draft.external_parents.iter().cloned()).collect(),
        kind: kind(&draft.dag_node.source_type),
        description: description(draft.dag_node),
        link: draft.dag_node.link.clone(),
        tags: draft.dag_node.tags.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        cron: draft.dag_node.cron.clone(),
        checks: draft.checks.clone(),
    }
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
    let text = truncate_middle(node.description.as_deref().unwrap_or_default().trim(), LONGEST_DESCRIPTION);
    let link = node.link.as_deref().map(|link| format!("[View in Tobiko Cloud]({link})"));
    let paragraphs: Vec<&str> =
        [text.as_ref(), link.as_deref().unwrap_or_default()].into_iter().filter(|p| !p.is_empty()).collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tobiko_api::DagAudit;

    use super::*;
    use crate::testing::{dag, node};

    fn manifest(nodes: &[&str]) -> Manifest {
        Manifest::new("prod", Some(&dag(nodes)), None)
    }

    #[track_caller]
    fn check_parents(nodes: &[&str], expected: &[&str]) {
        let parents: Vec<String> =
            manifest(nodes).nodes.iter().map(|n| format!("{} < {}", n.name, n.parents.join(" "))).collect();
        assert_eq!(parents, expected);
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

    /// `name` or `name(arguments)`.
    fn audits(texts: &[&str]) -> Vec<DagAudit> {
        let audit = |text: &&str| {
            let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
            let args = arguments.strip_suffix(')').map(str::to_owned);
            DagAudit { name: name.to_owned(), args, blocking: Some(true), query: Some("SELECT 1".into()) }
        };
        texts.iter().map(audit).collect()
    }

    #[track_caller]
    fn check_names(audit_names: &[&str], with_details: &[&str], expected: &[&str]) {
        let mut dag = dag(&["a"]);
        dag.nodes[0].audit_names = audit_names.iter().map(|name| (*name).to_owned()).collect();
        dag.nodes[0].audits = audits(with_details);
        let manifest = Manifest::new("prod", Some(&dag), None);
        let names: Vec<&str> = manifest.nodes[0].checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, expected, "{with_details:?}");
    }

    #[test]
    fn an_audit_with_other_arguments_is_another_check_and_the_first_keeps_the_plain_name() {
        let (id, day) = ("not_null(columns := (id))", "not_null(columns := (day))");
        check_names(&["not_null"], &[], &["not_null"]);
        check_names(&["not_null"], &[id], &["not_null"]);
        check_names(&["not_null"], &[id, day], &["not_null", "not_null_columns_day_77562675"]);
        check_names(&["not_null"], &[day, id], &["not_null", "not_null_columns_id_661dc188"]);
        check_names(&["not_null"], &[id, day, day, id], &["not_null", "not_null_columns_day_77562675"]);
        check_names(&["unique", "not_null"], &[id, day], &["not_null", "not_null_columns_day_77562675", "unique"]);
        check_names(&[], &[id, "not_null"], &["not_null", "not_null_2c6b2ac6"]);
        // Which differ in nothing that may be in a name.
        let (more, less) = ("forall(criteria := (a > 0))", "forall(criteria := (a < 0))");
        check_names(
            &[],
            &[id, more, less, "forall(criteria := (a = 0))"],
            &["forall", "forall_criteria_a_0_96708ac6", "forall_criteria_a_0_6723f5a0", "not_null"],
        );
    }

    #[test]
    fn a_check_has_what_the_cloud_says_of_its_audit() {
        let mut dag = dag(&["a", "~both < a"]);
        dag.nodes[0].audit_names = vec!["not_null".into(), "unique".into()];
        dag.nodes[0].audits = audits(&["not_null(columns := (id))"]);
        dag.nodes[1].description = Some("Orders have customers.".into());
        dag.nodes[1].link = Some("http://both".into());
        dag.nodes[1].audits = audits(&["both"]);
        dag.nodes[1].audits[0].query = Some("x".repeat(100_000));
        let json = serde_json::to_value(Manifest::new("prod", Some(&dag), None)).unwrap();
        let [not_null, unique, both] = &json["nodes"][0]["checks"].as_array().unwrap()[..] else { panic!("{json}") };
        assert_eq!(not_null["arguments"], "columns := (id)");
        assert_eq!((&not_null["blocking"], &not_null["query"]), (&true.into(), &"SELECT 1".into()));
        assert!(not_null.get("link").is_none() && not_null.get("description").is_none(), "{not_null}");
        assert_eq!(unique.as_object().unwrap().len(), 3, "{unique}");
        assert_eq!((&both["description"], &both["link"]), (&"Orders have customers.".into(), &"http://both".into()));
        assert!(both["query"].as_str().unwrap().len() <= LONGEST_QUERY + 64);
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
    fn what_the_cloud_says_of_a_model_is_handed_on() {
        let mut tagged = node("\"wh\".\"s\".\"a\"");
        tagged.model_name = "s.a".into();
        tagged.tags = vec!["pii".into(), "daily".into(), "pii".into()];
        tagged.cron = Some("@daily".into());
        let dag = Dag { nodes: vec![tagged, node("b")], ..Dag::default() };
        let json = serde_json::to_value(Manifest::new("prod", Some(&dag), None)).unwrap();
        let found = |at: usize, field: &str| json["nodes"][at].get(field).cloned();
        assert_eq!(found(0, "model_name"), Some("s.a".into()));
        assert_eq!(found(0, "tags"), Some(serde_json::json!(["daily", "pii"])));
        assert_eq!(found(0, "cron"), Some("@daily".into()));
        assert_eq!((found(1, "tags"), found(1, "cron")), (None, None));
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
