//! `tobiko-facade check`: for a person who sets it up. Each line is a step that works; the first that does not is the error.

use anyhow::Result;
use tobiko_client::{Client, Run};

use crate::exit_code::NotFound;
use crate::manifest::Manifest;
use crate::polling::runs::newest;

/// Passes what it finds to `line`, line by line.
pub async fn check(client: &Client, base_url: &str, environment: &str, mut line: impl FnMut(&str)) -> Result<()> {
    let dag = client.dag(environment).await?;
    line(&format!("✓ reached {base_url}"));
    line("✓ authenticated");
    let Some(dag) = dag else {
        return Err(NotFound(format!(
            "there is no environment '{environment}' (yet): check the name, or run a plan first"
        ))
        .into());
    };
    let manifest = Manifest::without_fingerprint(environment, Some(&dag), None);
    let models = manifest.nodes.iter().filter(|node| node.key.is_some()).count();
    let standalone = manifest.nodes.len() - models;
    let checks: usize = manifest.nodes.iter().map(|node| node.checks.len()).sum();
    let (models, checks) = (counted(models, "model"), counted(checks, "check"));
    let standalone = counted(standalone, "standalone audit");
    line(&format!("✓ environment '{environment}': {models}, {checks}, {standalone}"));
    for warning in &manifest.warnings {
        line(&format!("! {warning}"));
    }
    match newest(client, environment, 1).await?.last() {
        Some(run) => line(&format!("✓ last run: {}", describe(run))),
        None => line("✓ no run yet: the first one will be mirrored"),
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn describe(run: &Run) -> String {
    let started = run.start_at.map(|at| format!(", started {at:.0}")).unwrap_or_default();
    let link = run.link.as_deref().map(|link| format!("\n    {link}")).unwrap_or_default();
    format!("{} ({}{started}){link}", run.run_id, run.status)
}
