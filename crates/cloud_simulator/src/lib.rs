//! A simulated cloud for tests: a real local cloud whose runs follow a scenario's time line, with faults in front of it.
//!
//! Runs are reported as a recorder reports them, so the API's answers are the local cloud's own; faults are applied before a
//! request reaches it. `docs/scenarios.md` describes the file and the control API.
//!
//! Modules, in reading order:
mod file; // what a scenario contains

mod clock; // the scenario's own time
mod names; // node names and patterns
mod outcomes; // a node's outcome in a run
mod project; // an environment's nodes
mod rng; // numbers from the seed
mod timeline; // a run's events, each at its second

mod read; // from a file
mod unknown_names; // names that the scenario does not have

mod player; // reports them

mod fault_middleware; // applies a fault to a request
mod faults; // which fault a request gets
mod listener; // connections that break
mod mutations; // answers that are true and odd

mod control; // the control API

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::ServiceExt;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware;
use tokio::net::TcpListener;
use tokio::sync::watch::channel;
use tower_layer::Layer;

use local_cloud::{LocalCloud, Settings, end, shutdown_requested};

pub use file::Scenario;
pub use read::ScenarioError;

use clock::Clock;
use faults::Faults;
use player::Player;

/// What the parts of a simulated cloud share.
struct Simulation {
    cloud: LocalCloud,
    clock: Arc<Clock>,
    player: Player,
    faults: Faults,
    /// Requests by method and path, ids left out.
    requests: Mutex<BTreeMap<String, u64>>,
    traffic: Arc<listener::Traffic>,
}

impl Simulation {
    fn count(&self, method: &Method, uri: &Uri) {
        let mut parts: Vec<&str> = uri.path().trim_end_matches('/').split('/').collect();
        if let (true, Some(id)) = (uri.path().starts_with("/api/"), parts.get_mut(4)) {
            *id = "*";
        }
        let call = format!("{method} {}", parts.join("/"));
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(call).or_default() += 1;
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Like [`local_cloud::serve`], with a scenario. `control` serves the control API: it must be a loopback address.
///
/// # Errors
/// The database cannot be opened, or a listener fails.
pub async fn serve(
    listener: TcpListener,
    control: TcpListener,
    settings: Settings,
    scenario: Scenario,
    shutdown: impl Future<Output = ()>,
) -> Result<(), local_cloud::Error> {
    let cloud = LocalCloud::open(settings, listener.local_addr()?)?;
    serve_opened(listener, control, cloud, scenario, shutdown).await
}

/// The same with a database that is open already.
///
/// # Errors
/// A listener fails.
pub async fn serve_opened(
    listener: TcpListener,
    control: TcpListener,
    cloud: LocalCloud,
    scenario: Scenario,
    shutdown: impl Future<Output = ()>,
) -> Result<(), local_cloud::Error> {
    let clock = Arc::new(Clock::start());
    let simulation = Arc::new(Simulation {
        cloud: cloud.clone(),
        clock: Arc::clone(&clock),
        player: Player::new(cloud.clone(), clock, &scenario),
        faults: Faults::new(scenario.seed),
        requests: Mutex::default(),
        traffic: Arc::default(),
    });
    for rule in &scenario.faults {
        simulation.faults.add(rule.clone(), 0.0);
    }

    // Around the router, not in it: some faults change the path.
    let faulty = middleware::from_fn_with_state(Arc::clone(&simulation), fault_middleware::apply_faults);
    let faulty =
        ServiceExt::<Request>::into_make_service_with_connect_info::<listener::Peer>(faulty.layer(cloud.router()));
    let is_away = {
        let simulation = Arc::clone(&simulation);
        move || simulation.faults.refuse(simulation.clock.now_s())
    };
    let faulty_listener = listener::FaultyListener::new(listener, is_away, Arc::clone(&simulation.traffic))?;
    let (stop, stopped) = channel(());
    let server = axum::serve(faulty_listener, faulty).with_graceful_shutdown(shutdown_requested(stopped));
    let control = axum::serve(control, control::routes(Arc::clone(&simulation)));
    tokio::select! {
        ended = server.into_future() => Ok(ended?),
        ended = control.into_future() => Ok(ended?),
        () = end(shutdown, stop) => Ok(()),
        () = simulation.player.play() => Ok(()),
        () = cloud.watch_heartbeats() => Ok(()),
    }
}
