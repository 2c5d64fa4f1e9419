//! What is known of a model or a standalone audit, for the pages that show one.

use super::Link;
use crate::links::Links;
use crate::store::{Dag, Node};

/// What is known of the model.
pub(super) struct Definition {
    pub description: String,
    pub source_type: &'static str,
    pub node_type: &'static str,
    pub tags: Vec<String>,
    /// Without a URL: no node of this environment.
    pub parents: Vec<Link>,
    pub children: Vec<Link>,
    pub audits: Vec<String>,
}

impl Definition {
    pub fn new(node: &Node, dag: &Dag, links: &Links) -> Self {
        let link = |node: &Node| {
            let url = links.model(&dag.environment, &node.name, Some(&node.version));
            Link::new(&node.model_name, url)
        };
        let parent = |name: &String| match dag.nodes.iter().find(|node| node.name == *name) {
            Some(node) => link(node),
            None => Link::new(name.replace('"', ""), String::new()),
        };
        let children = dag.nodes.iter();
        let children = children.filter(|child| child.parent_names.contains(&node.name));
        Self {
            description: node.description.clone().unwrap_or_default(),
            source_type: node.source_type.as_str(),
            node_type: node.node_type.as_str(),
            tags: node.tags.clone(),
            parents: node.parent_names.iter().map(parent).collect(),
            children: children.map(link).collect(),
            audits: node.audit_names.clone(),
        }
    }
}
