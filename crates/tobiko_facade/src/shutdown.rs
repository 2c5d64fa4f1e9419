//! When to stop before the work is done: Ctrl-C, SIGTERM, or the process that launched this one is gone.

use std::env;
use std::future::Future;
use std::io;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::oneshot;

use crate::exit_code::Interrupted;

/// Set by a launcher that holds this process's stdin open for as long as it lives, and writes nothing to it.
const STDIN_IS_HELD: &str = "TOBIKO_FACADE_STDIN_IS_HELD";

/// How often to check whether the parent is gone: then this process has another one.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Returns when there is a reason to stop.
///
/// With `for_launcher`, the end of whoever launched this process is one: a run worker that was killed leaves nothing behind.
pub async fn requested(for_launcher: bool) -> Result<Interrupted> {
    tokio::select! {
        () = signalled()? => {}
        () = orphaned(), if for_launcher => {}
        () = stdin_closed(), if for_launcher && env::var_os(STDIN_IS_HELD).is_some() => {}
    }
    Ok(Interrupted::default())
}

/// Returns when the launcher has closed stdin, as its end does. Unlike the check of the parent, this also notices a launcher that
/// was gone before the first check, or that is behind a wrapper.
async fn stdin_closed() {
    let (sender, closed) = oneshot::channel();
    // A thread of its own, which ends with the process: the runtime would wait for it.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = sender.send(());
    });
    let _ = closed.await;
}

/// Returns when Ctrl-C or SIGTERM has come. From this call on, neither ends the process by itself.
#[cfg(unix)]
pub fn signalled() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub fn signalled() -> Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

#[cfg(unix)]
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

#[cfg(not(unix))]
async fn orphaned() {
    std::future::pending::<()>().await;
}
