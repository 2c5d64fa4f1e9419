//! Runs the local cloud on a listener until it is stopped.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch::{Receiver, Sender, channel};

use crate::{Error, LocalCloud, Settings};

/// How long requests in flight may take after the shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// Opens the database and answers on `listener` until `shutdown` ends, and for at most two seconds more.
///
/// # Errors
/// The database cannot be opened, or the listener fails.
pub async fn serve(listener: TcpListener, settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let cloud = LocalCloud::open(settings, listener.local_addr()?)?;
    serve_opened(listener, cloud, shutdown).await
}

/// The same with a database that is open already.
///
/// # Errors
/// The listener fails.
pub async fn serve_opened(
    listener: TcpListener,
    cloud: LocalCloud,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (stop, stopped) = channel(());
    let server = axum::serve(listener, cloud.router()).with_graceful_shutdown(shutdown_requested(stopped));
    tokio::select! {
        ended = server.into_future() => Ok(ended?),
        () = end(shutdown, stop) => Ok(()),
        () = cloud.watch_heartbeats() => Ok(()),
    }
}

/// Returns when the server should accept no more requests: when `stop` is gone.
pub async fn shutdown_requested(mut stop: Receiver<()>) {
    // An error means that the sender is gone, which is how it says so.
    let _ = stop.changed().await;
}

/// Returns when the requests in flight have had their time to end.
pub async fn end(shutdown: impl Future<Output = ()>, stop: Sender<()>) {
    shutdown.await;
    drop(stop);
    tokio::time::sleep(GRACE).await;
}
