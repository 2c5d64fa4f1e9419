//! `tobiko-facade serve`: the local cloud, on this machine unless another address is given.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::cli::ServeArgs;
use crate::exit_code::Usage;
use crate::{config, shutdown};

/// Serves until it is stopped. The first line on stdout is JSON: where the API and the token endpoint are.
pub async fn serve(args: ServeArgs) -> Result<ExitCode> {
    let secret = config::secret("TCLOUD_CLIENT_SECRET");
    let client = match (args.client_id.filter(|id| !id.is_empty()), secret) {
        (Some(id), Some(secret)) => Some((id, local_cloud::Secret::from(secret.expose().to_owned()))),
        (None, None) => None,
        (Some(_), None) => return Err(Usage::new("a client id without its secret: set TCLOUD_CLIENT_SECRET").into()),
        (None, Some(_)) => {
            return Err(Usage::new("a client secret without its id: set TCLOUD_CLIENT_ID, or give --client-id").into());
        }
    };
    let is_open = client.is_none() && !args.listen.ip().is_loopback();
    if is_open && !args.allow_anonymous {
        return Err(Usage::new(format!(
            "whoever reaches {} would have access: set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET, or give --allow-anonymous",
            args.listen
        ))
        .into());
    }
    let public_url =
        args.public_url.as_deref().map(|url| config::url("public URL", url, "--public-url")).transpose()?;
    let scenario = args.scenario.as_deref().map(cloud_simulator::Scenario::read).transpose();
    let scenario = scenario.map_err(|error| Usage::new(error.to_string()))?;
    let (database, _temporary) = database(args.database, scenario.is_some())?;
    let settings = local_cloud::Settings {
        database: database.clone(),
        public_url,
        client,
        stale_after: Duration::from_secs_f64(args.stale_after),
    };
    let listener = listen(args.listen, "--listen").await?;
    let address = listener.local_addr()?;
    if is_open {
        tracing::warn!("anyone who reaches {address} has access (--allow-anonymous)");
    }

    let base = local_cloud::base_url(settings.public_url.as_ref(), address);
    let mut places = json!({"base_url": base, "token_url": format!("{base}/auth/token")});
    let control = match &scenario {
        Some(_) if !args.control.ip().is_loopback() => {
            return Err(Usage::new("the control API has no authentication: give --control a loopback address").into());
        }
        Some(_) => Some(listen(args.control, "--control").await?),
        None => None,
    };
    if let Some(control) = &control {
        places["control_url"] = format!("http://{}", control.local_addr()?).into();
    }
    // Opened before anybody knows the address.
    let cloud = local_cloud::LocalCloud::open(settings, address).map_err(|error| match error {
        local_cloud::Error::ForeignDatabase { .. } => Usage::new(format!("cannot {error}")).into(),
        error => anyhow::Error::from(error),
    })?;
    // Before the first line is printed, so that a stop right after it is a clean end, too.
    let stopped = shutdown::signalled()?;
    writeln!(std::io::stdout(), "{places}")?;
    let _ = writeln!(
        std::io::stderr(),
        "The local cloud is at {base}/ (its data is in {}). Press Ctrl-C to stop it.",
        database.display()
    );
    match scenario.zip(control) {
        Some((scenario, control)) => {
            cloud_simulator::serve_opened(listener, control, cloud, scenario, stopped).await?;
        }
        None => local_cloud::serve_opened(listener, cloud, stopped).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file, and a temporary folder around it. What a scenario has played is kept only where a file is given.
fn database(given: Option<PathBuf>, is_scenario: bool) -> Result<(PathBuf, Option<TempDir>)> {
    match given {
        Some(file) => Ok((file, None)),
        None if is_scenario => {
            let folder = TempDir::with_prefix("tobiko-scenario-").context("cannot make a temporary folder")?;
            Ok((folder.path().join("cloud.db"), Some(folder)))
        }
        None => Ok((PathBuf::from("tobiko_local_cloud.db"), None)),
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}: give another address with {flag}"))
}
