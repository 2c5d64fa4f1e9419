//! Where a node's results belong in Dagster: its asset, and the checks of its audits.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::manifest::Manifest;
use crate::manifest::names::{check_name, key_parts};

/// An asset, and the name of one of its checks.
type CheckKey = (Rc<[String]>, String);

/// The manifest's assets and checks by node.
#[derive(Debug)]
pub struct AssetMap {
    prefix: Option<String>,
    models: HashMap<String, Rc<[String]>>,
    /// A model's audits, each with the check's name.
    checks: HashMap<String, Vec<(String, String)>>,
    /// A standalone audit to the assets that it checks, with the check's name there.
    covered: HashMap<String, Vec<CheckKey>>,
    /// Models that SQLMesh only audits.
    external: HashSet<String>,
    /// What the user calls a node, where that is not the cloud's name for it.
    model_names: HashMap<String, String>,
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
                if !of_model.iter().any(|(audit, _)| *audit == check.audit) {
                    of_model.push((check.audit.clone(), check.name.clone()));
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
    pub fn checks(&self, node: &str, audit: &str) -> Vec<CheckKey> {
        if let Some(covered) = self.covered.get(node) {
            return covered.clone();
        }
        let known = self.checks.get(node).into_iter().flatten().find(|(known, _)| known == audit);
        let name = || known.map_or_else(|| check_name(audit), |(_, name)| name.clone());
        self.key(node).map(|key| (key, name())).into_iter().collect()
    }
}
