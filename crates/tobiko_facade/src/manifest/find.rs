//! A node by what a person types: the cloud's name for it, the model's own, or the asset's as it is printed.

use super::names::key_parts;
use super::{Manifest, Node};

/// How many names are suggested at most.
const MOST: usize = 3;

/// How much of a name must be the same for a suggestion.
const SIMILARITY: f64 = 0.5;

/// The node called `typed`, or the model names that are nearest to it.
///
/// # Errors
///
/// There is no such node, or more than one.
pub fn find_node<'m>(manifest: &'m Manifest, typed: &str) -> Result<&'m Node, Vec<&'m str>> {
    let nodes = || manifest.nodes.iter();
    if let Some(node) = nodes().find(|node| node.name == typed) {
        return Ok(node);
    }
    let parts = key_parts(typed);
    let with_parts = |node: &&Node| key_parts(&node.name).ends_with(&parts) || node.key.as_deref() == Some(&parts);
    let of_model_name: Vec<&Node> = nodes().filter(|node| node.model_name == typed).collect();
    let of_parts: Vec<&Node> = nodes().filter(with_parts).collect();
    match (of_model_name.as_slice(), of_parts.as_slice()) {
        ([node], _) | ([], [node]) => Ok(node),
        ([], []) => Err(nearest(typed, nodes().map(|node| node.model_name.as_str()))),
        // Names that are the same to people: only the cloud's own tells them apart.
        ([], several) | (several, _) => Err(several.iter().map(|node| node.name.as_str()).collect()),
    }
}

/// Of `names`, those that are nearest to `typed`, the nearest first.
pub fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let typed = typed.to_lowercase();
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(&typed, &name.to_lowercase());
    let mut near: Vec<(f64, &str)> = names.into_iter().map(|name| (similarity(name), name)).collect();
    near.retain(|(similarity, _)| *similarity >= SIMILARITY);
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    near.truncate(MOST);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::dag;

    #[track_caller]
    fn check(typed: &str, expected: Result<&str, &[&str]>) {
        let mut dag = dag(&["\"wh\".\"shop\".\"orders\"", "\"wh\".\"shop\".\"items\"", "\"wh\".\"raw\".\"items\""]);
        for node in &mut dag.nodes {
            node.model_name = node.name.replace("\"wh\".", "").replace('"', "");
        }
        let manifest = Manifest::new("prod", Some(&dag), Some("cloud"));
        let found = find_node(&manifest, typed).map(|node| node.name.as_str());
        assert_eq!(found, expected.map_err(<[&str]>::to_vec), "{typed}");
    }

    #[test]
    fn a_node_is_found_by_each_of_its_names() {
        let orders = "\"wh\".\"shop\".\"orders\"";
        check(orders, Ok(orders));
        check("shop.orders", Ok(orders));
        check("wh.shop.orders", Ok(orders));
        check("cloud.wh.shop.orders", Ok(orders));
        check("orders", Ok(orders));
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_ones() {
        check("shop.ordrs", Err(&["shop.orders", "shop.items"]));
        check("zzz", Err(&[]));
        check("items", Err(&["\"wh\".\"raw\".\"items\"", "\"wh\".\"shop\".\"items\""]));
    }
}
