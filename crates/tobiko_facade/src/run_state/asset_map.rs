//! Where a node's results belong in Dagster: its asset, and the checks of its audits.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tobiko_client::AuditEvaluation;

use crate::manifest::Manifest;
use crate::manifest::names::{check_name, check_name_with_arguments, key_parts};

/// An asset, and the name of one of its checks.
type CheckKey = (Rc<[String]>, String);

/// The manifest's assets and checks by node.
#[derive(Debug)]
pub struct AssetMap {
    prefix: Option<String>,
    models: HashMap<String, Rc<[String]>>,
    /// The checks of a model.
    checks: HashMap<String, Vec<OwnCheck>>,
    /// A standalone audit to the assets that it checks, with the check's name there.
    covered: HashMap<String, Vec<CheckKey>>,
    /// Models that SQLMesh only audits.
    external: HashSet<String>,
    /// What the user calls a node, where that is not the cloud's name for it.
    model_names: HashMap<String, String>,
}

#[derive(Debug)]
struct OwnCheck {
    name: String,
    audit: String,
    arguments: Option<String>,
}

impl AssetMap {
    pub fn new(manifest: &Manifest, prefix: Option<&str>) -> Self {
        let mut assets = Self {
            prefix: prefix.map(str::to_owned),
            models: HashMap::new(),
            checks: HashMap::new(),
            covered: HashMap::new(),
            external: HashSet::new(),
            model_names: HashMap::new(),
        };
        for node in &manifest.nodes {
            if node.model_name != node.name {
                assets.model_names.insert(node.name.clone(), node.model_name.clone());
            }
            if node.is_external() {
                assets.external.insert(node.name.clone());
            }
            let Some(key) = &node.key else {
                assets.covered.entry(node.name.clone()).or_default();
                continue;
            };
            let key: Rc<[String]> = key.as_slice().into();
            assets.models.insert(node.name.clone(), Rc::clone(&key));
            for check in &node.checks {
                if check.node != node.name {
                    assets.covered.entry(check.node.clone()).or_default().push((Rc::clone(&key), check.name.clone()));
                }
                // A model's own audits come before the standalone ones, which must not take their place.
                let of_model = assets.checks.entry(node.name.clone()).or_default();
                if check.node == node.name || !of_model.iter().any(|own| own.audit == check.audit) {
                    let (audit, arguments) = (check.audit.clone(), check.arguments.clone());
                    of_model.push(OwnCheck { name: check.name.clone(), audit, arguments });
                }
            }
        }
        assets
    }

    /// The asset of a node; `None` for a standalone audit. A node that is not in the manifest gets the key that it would have.
    pub fn key(&self, node: &str) -> Option<Rc<[String]>> {
        if self.covered.contains_key(node) {
            return None;
        }
        let of_unknown = || self.prefix.iter().cloned().chain(key_parts(node)).collect();
        Some(self.models.get(node).cloned().unwrap_or_else(of_unknown))
    }

    /// Whether nothing is ever loaded into a node: a standalone audit, or a model that others load.
    pub fn is_only_audited(&self, node: &str) -> bool {
        self.covered.contains_key(node) || self.external.contains(node)
    }

    /// What the user calls a node, for people.
    pub fn model_name<'n>(&'n self, node: &'n str) -> &'n str {
        self.model_names.get(node).map_or(node, String::as_str)
    }

    /// What a standalone audit checks; `None` for a model.
    pub fn covered(&self, node: &str) -> Option<&[CheckKey]> {
        self.covered.get(node).map(Vec::as_slice)
    }

    /// The checks that a result of `audit`, found in an evaluation of `node`, is for.
    pub fn checks(&self, node: &str, audit: &AuditEvaluation) -> Vec<CheckKey> {
        if let Some(covered) = self.covered.get(node) {
            return covered.clone();
        }
        self.key(node).map(|key| (key, self.own_check(node, audit))).into_iter().collect()
    }

    /// The name of a model's check. Arguments count only where the model has the audit several times, as not every cloud, or
    /// recorder, says them.
    fn own_check(&self, node: &str, audit: &AuditEvaluation) -> String {
        let mut known = self.checks.get(node).into_iter().flatten().filter(|own| own.audit == audit.name);
        let Some(first) = known.next() else { return check_name(&audit.name) };
        let mut others = known.peekable();
        if others.peek().is_none() || audit.args.is_none() || first.arguments == audit.args {
            return first.name.clone();
        }
        match (others.find(|own| own.arguments == audit.args), audit.args.as_deref()) {
            (Some(own), _) => own.name.clone(),
            // Of another version of the model: the name that it has, or had, there.
            (None, arguments) => check_name_with_arguments(&audit.name, arguments.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tobiko_client::DagAudit;

    use super::*;
    use crate::testing::{audit, dag};

    /// `result` and each of `uses` are `name`, or `name(arguments)`.
    #[track_caller]
    fn check(uses: &[&str], result: &str, expected: &str) {
        let split = |text: &str| {
            let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
            (name.to_owned(), arguments.strip_suffix(')').map(str::to_owned))
        };
        let mut dag = dag(&["a", "~both < a"]);
        dag.nodes[0].audit_names = uses.iter().map(|text| split(text).0).collect();
        let with_details = uses.iter().map(|text| split(text));
        dag.nodes[0].audits = with_details.map(|(name, args)| DagAudit { name, args, ..DagAudit::default() }).collect();
        let (name, args) = split(result);
        let result = AuditEvaluation { args, ..audit(&name, true) };
        let checks = AssetMap::new(&Manifest::new("prod", Some(&dag), None), None).checks("a", &result);
        let names: Vec<&str> = checks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, [expected]);
    }

    #[test]
    fn results_go_by_their_arguments_where_an_audit_is_there_several_times() {
        let twice = ["unique(x)", "unique(y)"];
        let of_y = check_name_with_arguments("unique", "y");
        check(&twice, "unique(x)", "unique");
        check(&twice, "unique(y)", &of_y);
        // From a recorder that does not say them.
        check(&twice, "unique", "unique");
        // Of another version of the model.
        check(&twice, "unique(z)", &check_name_with_arguments("unique", "z"));
        check(&["unique(x)"], "unique(y)", "unique");
        check(&["unique"], "unique(y)", "unique");
        check(&["unique", "unique(y)"], "unique(y)", &of_y);
        check(&["unique", "unique(y)"], "unique", "unique");
        check(&[], "unique(y)", "unique");
        check(&twice, "both", "both");
    }
}
