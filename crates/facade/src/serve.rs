//! `tobiko-facade serve`: the local cloud, on this machine unless told otherwise.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::ServeArgs;
use crate::exit::Usage;
use crate::{settings, stop};

/// Serves until it is stopped. The first line on stdout is JSON: where the API and the token endpoint are.
pub async fn serve(args: ServeArgs) -> Result<ExitCode> {
    let secret = settings::secret("TCLOUD_CLIENT_SECRET");
    let client = match (args.client_id.filter(|id| !id.is_empty()), secret) {
        (Some(id), Some(secret)) => Some((id, local_cloud::Secret::from(secret.expose().to_owned()))),
        (None, None) => None,
        (Some(_), None) => return Err(Usage::new("a client id without its secret: set TCLOUD_CLIENT_SECRET").into()),
        (None, Some(_)) => {
            return Err(Usage::new("a client secret without its id: set TCLOUD_CLIENT_ID, or give --client-id").into());
        }
    };
    let is_open = client.is_none();
    let public_url =
        args.public_url.as_deref().map(|url| settings::url("public URL", url, "--public-url")).transpose()?;
    let settings = local_cloud::Settings {
        database: args.database.clone(),
        public_url,
        client,
        stale_after: Duration::from_secs_f64(args.stale_after),
    };
    let listener = TcpListener::bind(args.listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {}: give another address with --listen", args.listen))?;
    let address = listener.local_addr()?;
    if is_open && !address.ip().is_loopback() {
        tracing::warn!("anyone who reaches {address} is let in: set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET");
    }

    let base = local_cloud::base_url(settings.public_url.as_ref(), address);
    let places = json!({"base_url": base, "token_url": format!("{base}/auth/token")});
    writeln!(std::io::stdout(), "{places}")?;
    let _ = writeln!(
        std::io::stderr(),
        "The local cloud is at {base}/ (its data in {}). Ctrl-C ends it.",
        args.database.display()
    );
    let stopped = async { drop(stop::requested(false).await) };
    local_cloud::serve(listener, settings, stopped).await?;
    Ok(ExitCode::SUCCESS)
}
