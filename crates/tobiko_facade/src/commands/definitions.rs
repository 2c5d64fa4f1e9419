//! `tobiko-facade definitions`: what Dagster declares for an environment, as JSON.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tobiko_client::{Client, Error};

use super::{environment, print, until_stopped};
use crate::cli::DefinitionsArgs;
use crate::config::{TimeoutProfile, client};
use crate::exit_code::sentence;
use crate::manifest::Manifest;
use crate::manifest::cache::ManifestCache;

/// Dagster's side gives up after 20 s: by then, the kept manifest must have been printed.
const TIME_LIMIT: Duration = Duration::from_secs(18);

/// Prints the environment's manifest. With `--keep-on-disk`, it is kept there, and where the cloud gives none, the kept one is
/// printed with a field `kept`, which says when it was kept and why it is printed.
///
/// # Errors
///
/// With `--keep-on-disk`: a wrong command line, and every failure when nothing is kept.
pub async fn definitions(args: &DefinitionsArgs) -> Result<ExitCode> {
    let client = client(&args.cloud, TimeoutProfile::Short)?;
    if !args.keep_on_disk {
        return print(&until_stopped(manifest(&client, args)).await?);
    }
    let base_url = args.cloud.base_url.as_deref().unwrap_or_default().trim();
    let cache = ManifestCache::new(base_url, &args.cloud.environment, args.asset_prefix.as_deref());
    let answer = tokio::time::timeout(TIME_LIMIT, until_stopped(manifest(&client, args))).await;
    match answer.unwrap_or_else(|_| Err(no_answer(base_url).into())) {
        Ok(manifest) => {
            if let Some(cache) = &cache {
                cache.keep(&manifest);
            }
            print(&manifest)
        }
        Err(error) => {
            let Some(mut kept) = cache.and_then(|cache| cache.read()) else {
                return Err(error);
            };
            kept.manifest["kept"] = json!({"saved_at": kept.saved_at, "reason": sentence(&error)});
            print(&kept.manifest)
        }
    }
}

async fn manifest(client: &Client, args: &DefinitionsArgs) -> Result<Manifest> {
    let given = &args.cloud.environment;
    let found = environment::find(client, given).await?;
    let mut manifest = Manifest::new(given, found.dag.as_ref(), args.asset_prefix.as_deref());
    manifest.cloud = client.cloud_name();
    Ok(manifest)
}

fn no_answer(base_url: &str) -> Error {
    let reason = format!("no answer within {} s", TIME_LIMIT.as_secs());
    Error::Unreachable { url: base_url.to_owned(), reason }
}
