//! The command line: what can be typed, and its help. `config` checks it and makes it ready to use.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo};

const AFTER_HELP: &str = "\
A first try, with the credentials in the environment:
  export TCLOUD_BASE_URL=https://cloud.tobikodata.com/sqlmesh/tobiko/public-demo/
  export TCLOUD_CLIENT_ID=... TCLOUD_CLIENT_SECRET=...
  tobiko-facade check             reach the cloud, authenticate, list what is there
  tobiko-facade mirror            follow the newest run in the terminal

Secrets are read from environment variables only:
  TCLOUD_CLIENT_SECRET            secret of the OAuth client
  TCLOUD_TOKEN                    static API token (deprecated)
Without either, the login of the tcloud command line tool is used.

Exit codes:
  0  done                         4  authentication failed
  1  another failure              5  not found (environment, run, node, base URL)
  2  invalid command line         6  the remote run failed (mirror)
  3  the cloud is unreachable   130  interrupted
Launched by Dagster, sync and mirror exit with 0 whenever they could report their result to it.";

/// Shows what Tobiko Cloud's scheduler did, in Dagster or in the terminal
#[derive(Debug, Parser)]
#[command(name = "tobiko-facade", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Log more to stderr: -v requests, -vv everything (or set RUST_LOG)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the setup: the connection, the credentials, the environment
    Check(CloudArgs),
    /// Report the latest state of every model: its newest materialization and checks
    Sync(SyncArgs),
    /// Follow one remote run to its end, task by task
    Mirror(MirrorArgs),
    /// Print what Dagster declares for the environment, as JSON
    Definitions(DefinitionsArgs),
    /// Print the remote runs since a given one, as JSON
    Poll(PollArgs),
    /// Decide what the sensor does: Dagster's state as JSON on stdin, the answer on stdout
    #[command(hide = true)]
    Tick(CloudArgs),
    /// Make a local cloud forget an environment, with its runs and plans, until its next plan
    Forget(CloudArgs),
    /// Serve a local cloud: the same API for runs of open-source SQLMesh on this machine
    Serve(ServeArgs),
}

/// Which cloud, with which credentials and time limits.
#[derive(Debug, Clone, Args)]
pub struct CloudArgs {
    /// URL of the Tobiko Cloud project
    #[arg(long, env = "TCLOUD_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub base_url: Option<String>,
    /// SQLMesh environment
    #[arg(
        long,
        short,
        env = "TCLOUD_ENVIRONMENT",
        hide_env_values = true,
        default_value = "prod",
        value_name = "NAME"
    )]
    pub environment: String,
    /// OAuth client id; its secret is read from TCLOUD_CLIENT_SECRET
    #[arg(long, env = "TCLOUD_CLIENT_ID", hide_env_values = true, value_name = "ID")]
    pub client_id: Option<String>,
    /// Token endpoint [default: Tobiko Cloud's for its own hosts, else {base URL}/auth/token]
    #[arg(long, env = "TCLOUD_TOKEN_URL", hide_env_values = true, value_name = "URL")]
    pub token_url: Option<String>,
    /// OAuth scope
    #[arg(
        long,
        env = "TCLOUD_SCOPE",
        hide_env_values = true,
        default_value = "tbk:scope:projects",
        value_name = "SCOPE"
    )]
    pub scope: String,
    /// Folder of the tcloud tool, which holds its login [default: ~/.tcloud]
    #[arg(long, env = "TCLOUD_HOME", hide_env_values = true, value_name = "DIR")]
    pub tcloud_home: Option<PathBuf>,
    /// PEM file of certificates to trust in addition to the system's
    #[arg(long, env = "TCLOUD_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Longest duration of one call with all its retries, in seconds
    #[arg(long, env = "TOBIKO_FACADE_CALL_LIMIT_S", hide_env_values = true, value_name = "SECONDS", value_parser = seconds)]
    pub call_limit: Option<f64>,
    /// Longest duration of one request, in seconds
    #[arg(long, env = "TOBIKO_FACADE_REQUEST_LIMIT_S", hide_env_values = true, value_name = "SECONDS", value_parser = seconds)]
    pub request_limit: Option<f64>,
}

#[derive(Debug, Args)]
pub struct DefinitionsArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Nest all asset keys below this
    #[arg(long, value_name = "PREFIX", value_parser = NonEmptyStringValueParser::new())]
    pub asset_prefix: Option<String>,
    /// Keep the manifest on disk, and print the kept one where the cloud gives none (what Dagster's side uses)
    #[arg(long, hide = true)]
    pub keep_on_disk: bool,
}

#[derive(Debug, Args)]
pub struct PollArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Only the runs after this one [default: the newest runs]
    #[arg(long, value_name = "RUN_ID")]
    pub since: Option<String>,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Nest all asset keys below this
    #[arg(long, value_name = "PREFIX", value_parser = NonEmptyStringValueParser::new())]
    pub asset_prefix: Option<String>,
    /// Only this model or standalone audit, by any of its names; may be repeated
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<String>,
    /// Fail, after all has been reported, if this plan failed
    #[arg(long, value_name = "PLAN_ID")]
    pub plan: Option<String>,
    /// Report the runs of the past, too: those that ended within this time, such as 7d; the newest 500 at most
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub history: Option<SignedDuration>,
}

#[derive(Debug, Args)]
pub struct MirrorArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Nest all asset keys below this
    #[arg(long, value_name = "PREFIX", value_parser = NonEmptyStringValueParser::new())]
    pub asset_prefix: Option<String>,
    /// The remote run to follow [default: the newest]
    #[arg(long, value_name = "RUN_ID")]
    pub run_id: Option<String>,
    /// Follow the newest run that had started by this time (unix seconds), else the first one after it
    #[arg(long, value_name = "EPOCH", conflicts_with = "run_id")]
    pub newest_before: Option<f64>,
    /// Only this model or standalone audit, by any of its names
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Longest time between two polls of the run, in seconds; a fifth of it while things change
    #[arg(long, env = "TOBIKO_FACADE_POLL_INTERVAL_S", hide_env_values = true, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub poll_interval: f64,
    /// How long to wait for a cloud that cannot be reached, in seconds
    #[arg(long, env = "TOBIKO_FACADE_GIVE_UP_AFTER_S", hide_env_values = true, default_value = "900", value_name = "SECONDS", value_parser = seconds)]
    pub give_up_after: f64,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8765", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Database file, created if missing [default: tobiko_local_cloud.db; a temporary one for a scenario]
    #[arg(long, env = "TOBIKO_LOCAL_CLOUD_DATABASE", hide_env_values = true, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// URL under which browsers reach this server, for the links [default: the address that it listens on]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Require this OAuth client, with the secret in TCLOUD_CLIENT_SECRET [default: no authentication]
    #[arg(long, env = "TCLOUD_CLIENT_ID", hide_env_values = true, value_name = "ID")]
    pub client_id: Option<String>,
    /// Give everybody who reaches the server access, although it listens on more than loopback
    #[arg(long)]
    pub allow_anonymous: bool,
    /// Fail runs that sent no heartbeat for this long, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub stale_after: f64,
    /// Play runs and faults on a timeline, to test one's own sensors: a YAML or JSON file, see docs/scenarios.md
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Address of the control API of a scenario (loopback only); port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", requires = "scenario")]
    pub control: SocketAddr,
}

/// A time back from now, such as `7d`, `2w` or `36h`.
fn age(text: &str) -> Result<SignedDuration, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let age = text.parse::<Span>().and_then(|span| span.to_duration(days)).map_err(|error| error.to_string())?;
    if age.is_positive() { Ok(age) } else { Err("must be more than 0 seconds".to_owned()) }
}

/// A number of seconds that can be waited.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds < 1e9 { Ok(seconds) } else { Err("must be more than 0 seconds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_weeks_and_hours() {
        let hours = |text| age(text).ok().map(|age| age.as_hours());
        assert_eq!(
            [hours("7d"), hours("2w"), hours("36h"), hours("1d 12h")],
            [Some(168), Some(336), Some(36), Some(36)]
        );
        for wrong in ["", "7", "-7d", "0d", "1 month", "soon"] {
            assert_eq!(hours(wrong), None, "{wrong}");
        }
    }
}
