//! The environment that was typed, under the name by which the cloud knows it; and what to say where it knows none.

use anyhow::{Context, Result};
use tobiko_client::{Client, Dag, RunsQuery};

use crate::exit_code::NotFound;
use crate::manifest::find::nearest;
use crate::polling::runs::newest;

/// An environment as the cloud knows it.
pub struct Environment {
    /// As given, or as SQLMesh normalizes it where the cloud knows only that.
    pub name: String,
    pub dag: Option<Dag>,
}

/// Looks an environment up: by the name as given, then as SQLMesh stores it. Without a DAG: it does not exist.
pub async fn find(client: &Client, given: &str) -> Result<Environment> {
    let dag = client.dag(given).await.context("cannot get the environment's DAG")?;
    let normalized = normalized(given);
    if dag.is_none() && normalized != given {
        let dag = client.dag(&normalized).await.context("cannot get the environment's DAG")?;
        if dag.is_some() {
            return Ok(Environment { name: normalized, dag });
        }
    }
    Ok(Environment { name: given.to_owned(), dag })
}

/// The name under which the cloud has runs of the environment. One small request, and none where both names are the same.
pub async fn with_runs(client: &Client, given: &str) -> Result<String> {
    let normalized = normalized(given);
    if normalized == given || !newest(client, given, 1).await?.is_empty() {
        return Ok(given.to_owned());
    }
    Ok(normalized)
}

/// The error about an environment that does not exist, with the nearest names that the cloud has runs of.
pub async fn unknown(client: &Client, environment: &str) -> NotFound {
    // Only a help: without it, the sentence is still true.
    let runs = client.runs(&RunsQuery { limit: Some(100), ..RunsQuery::default() }).await.unwrap_or_default();
    let mut names: Vec<&str> = runs.iter().map(|run| run.environment.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let hint = did_you_mean(&nearest(environment, names));
    NotFound(format!("there is no environment '{environment}' (yet): check the name, or run a plan first{hint}"))
}

/// The end of a sentence about a name that is unknown.
pub fn did_you_mean(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    if quoted.is_empty() { String::new() } else { format!("; did you mean {}?", quoted.join(", ")) }
}

/// As SQLMesh does: lower case, and `_` for what is neither a letter, a digit nor `_`.
fn normalized(environment: &str) -> String {
    environment
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' })
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_as_sqlmesh_does() {
        let check = |given: &str, expected: &str| assert_eq!(normalized(given), expected, "{given}");
        check("prod", "prod");
        check("Feature/One-1", "feature_one_1");
        check("dev.été", "dev_été");
        check("a b_C", "a_b_c");
    }

    #[test]
    fn the_nearest_names_end_the_sentence() {
        assert_eq!(did_you_mean(&[]), "");
        assert_eq!(did_you_mean(&["prod", "prod2"]), "; did you mean 'prod', 'prod2'?");
    }
}
