//! When to stop before the work is done: Ctrl-C, SIGTERM, or the process that launched this one is gone.

use std::time::Duration;

use anyhow::Result;

use crate::exit::Interrupted;

/// How often the parent is looked at. It is gone when somebody else has become this process's parent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns when there is a reason to stop.
///
/// With `for_parent`, the end of the parent process is one: a run worker that was killed leaves nothing behind.
pub async fn requested(for_parent: bool) -> Result<Interrupted> {
    tokio::select! {
        signal = signalled() => signal?,
        () = orphaned(), if for_parent => {}
    }
    Ok(Interrupted)
}

#[cfg(unix)]
async fn signalled() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn signalled() -> Result<()> {
    Ok(tokio::signal::ctrl_c().await?)
}

#[cfg(unix)]
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(not(unix))]
async fn orphaned() {
    std::future::pending::<()>().await;
}
