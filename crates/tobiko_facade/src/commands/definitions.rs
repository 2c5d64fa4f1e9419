//! `tobiko-facade definitions`: what Dagster declares for an environment, as JSON.

use std::process::ExitCode;

use anyhow::Result;

use super::{print, until_stopped};
use crate::cli::DefinitionsArgs;
use crate::config::{TimeoutProfile, client};
use crate::manifest::Manifest;

/// Prints the environment's manifest.
pub async fn definitions(args: &DefinitionsArgs) -> Result<ExitCode> {
    let client = client(&args.cloud, TimeoutProfile::Short)?;
    let environment = &args.cloud.environment;
    let dag = until_stopped(async { Ok(client.dag(environment).await?) }).await?;
    print(&Manifest::new(environment, dag.as_ref(), args.asset_prefix.as_deref()))
}
