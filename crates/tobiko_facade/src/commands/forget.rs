//! `tobiko-facade forget`: makes a local cloud forget an environment, with its runs and plans.

use anyhow::{Context, Result};
use tobiko_client::Client;

use super::environment;
use crate::exit_code::{NotFound, Usage};

/// Forgets `environment`; the sentence about it. It comes back when the recorder sends its next plan.
///
/// # Errors
///
/// The cloud is not a local one, or it does not know the environment.
pub async fn forget(client: &Client, environment: &str) -> Result<String> {
    let found = environment::find(client, environment).await?;
    let forgotten =
        client.forget_environment(&found.name).await.context("cannot make the cloud forget the environment")?;
    if forgotten {
        return Ok(format!("forgot the environment '{}': it comes back with its next plan", found.name));
    }
    if client.is_local_cloud() {
        Err(NotFound(format!("there is no environment '{environment}': nothing is forgotten")).into())
    } else {
        Err(Usage::new("only a local cloud can forget an environment: Tobiko Cloud follows SQLMesh's own state").into())
    }
}
