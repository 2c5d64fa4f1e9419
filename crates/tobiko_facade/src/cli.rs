//! The command line: what can be typed, and its help. What was typed becomes ready-to-use objects in `settings`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

const AFTER_HELP: &str = "\
A first try, with the credentials in the environment:
  export TCLOUD_BASE_URL=https://cloud.tobikodata.com/sqlmesh/tobiko/public-demo/
  export TCLOUD_CLIENT_ID=... TCLOUD_CLIENT_SECRET=...
  tobiko-facade check             can I reach the cloud, am I let in, what is there
  tobiko-facade mirror            follow the newest run in the terminal

Secrets come by the environment alone:
  TCLOUD_CLIENT_SECRET            secret of the OAuth client
  TCLOUD_TOKEN                    static API token (deprecated)
Without either, the login of the tcloud command line tool is used.

Exit codes:
  0  done                         4  not let in (credentials)
  1  another failure              5  not found (environment, run, base URL)
  2  the command line is wrong    6  the remote run ended badly (mirror)
  3  the cloud can't be reached   130  interrupted
Launched by Dagster, sync and mirror exit with 0 whenever their result could be told there.";

/// Tells Dagster, or a person at a terminal, what Tobiko Cloud's scheduler did.
#[derive(Debug, Parser)]
#[command(name = "tobiko-facade", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr: -v requests, -vv everything (or set RUST_LOG)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what someone must act on
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the set-up: is the cloud there, am I let in, what does the environment hold
    Check(CloudArgs),
    /// Tell the current state of every model: its newest materialization and checks
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
    /// Serve a local cloud: the same API for runs of open-source SQLMesh on this machine
    Serve(ServeArgs),
    /// Tell Dagster numbered messages: what the tests of the channel launch
    #[command(hide = true)]
    TellTestMessages(TestMessagesArgs),
}

/// Which cloud, as whom, how patiently.
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
    /// Where tokens are asked for [default: Tobiko Cloud's token endpoint; a local cloud's own]
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
    /// PEM file of certificates to trust beside the system's
    #[arg(long, env = "TCLOUD_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Longest time that one call may take with all its retries, in seconds
    #[arg(long, env = "TOBIKO_FACADE_CALL_LIMIT_S", hide_env_values = true, value_name = "SECONDS", value_parser = seconds)]
    pub call_limit: Option<f64>,
    /// Longest time that one request may take, in seconds
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
}

#[derive(Debug, Args)]
pub struct PollArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Only what came after this run [default: the newest runs]
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
    /// Only this model or standalone audit, as the cloud names it; may be repeated
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<String>,
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
    /// Follow the newest run that had started by then (unix seconds), else the first one after
    #[arg(long, value_name = "EPOCH", conflicts_with = "run_id")]
    pub newest_before: Option<f64>,
    /// Only this model or standalone audit, as the cloud names it
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Longest time between two looks at the run, in seconds; a fifth of it while things change
    #[arg(long, env = "TOBIKO_FACADE_POLL_INTERVAL_S", hide_env_values = true, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub poll_interval: f64,
    /// How long the cloud may be out of reach before this gives up, in seconds
    #[arg(long, env = "TOBIKO_FACADE_GIVE_UP_AFTER_S", hide_env_values = true, default_value = "900", value_name = "SECONDS", value_parser = seconds)]
    pub give_up_after: f64,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8765", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Database file, made when it is not there [default: tobiko_local_cloud.db; a temporary one for a scenario]
    #[arg(long, env = "TOBIKO_LOCAL_CLOUD_DATABASE", hide_env_values = true, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// URL under which people reach this server, for the links [default: the address that it listens on]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Let in only this OAuth client, with the secret in TCLOUD_CLIENT_SECRET [default: everybody]
    #[arg(long, env = "TCLOUD_CLIENT_ID", hide_env_values = true, value_name = "ID")]
    pub client_id: Option<String>,
    /// End a run of which nothing was heard for so long, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub stale_after: f64,
    /// Play runs and faults on a time line, for testing one's own sensors: a YAML or JSON file, see docs/scenarios.md
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Where a scenario takes orders, on this machine only; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", requires = "scenario")]
    pub control: SocketAddr,
}

#[derive(Debug, Args)]
pub struct TestMessagesArgs {
    /// How many messages
    #[arg(long)]
    pub count: usize,
    /// Bytes of the smallest message, about
    #[arg(long, default_value = "100")]
    pub smallest: usize,
    /// Bytes of the largest message, about
    #[arg(long, default_value = "15000")]
    pub largest: usize,
    /// Messages between two pauses
    #[arg(long, default_value = "1")]
    pub burst: usize,
    /// Length of a pause, in milliseconds
    #[arg(long, default_value = "0")]
    pub pause_ms: u64,
}

/// A number of seconds that a wait can be made of.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds < 1e9 { Ok(seconds) } else { Err("must be more than 0 seconds".to_owned()) }
}
