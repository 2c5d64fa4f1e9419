//! The scripted cloud: the local cloud itself, with runs on a time line and with faults on the way to it.
//!
//! Runs are told as a recorder tells them, so that what the API answers is what it always answers; faults stand before
//! it. `docs/scenarios.md` has the format of the file and the control endpoint.
//!
//! Modules, in reading order:
mod file; // what a scenario says

mod chance; // numbers from the seed
mod clock; // the scenario's own time
mod outcomes; // a node's outcome in a run
mod project; // an environment's nodes
mod timeline; // a run's events, each at its second

mod player; // tells them

mod alter; // answers that are true and odd
mod faults; // which fault a request meets
mod misbehave;
mod wire; // connections that break // what becomes of the request

mod control; // steers all of it from outside

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

use crate::links::Links;
use crate::server::{asked_to_end, base_url, end, routes, with_layers};
use crate::store::Store;
use crate::token::Door;
use crate::{Error, Settings, stale};

pub use file::Scenario;

use clock::Clock;
use faults::Faults;
use player::Player;

/// What the parts of a scripted cloud share.
struct Scripted {
    store: Arc<Store>,
    links: Links,
    door: Arc<Door>,
    clock: Arc<Clock>,
    player: Player,
    faults: Faults,
    /// Requests by method and path, ids left out.
    requests: Mutex<BTreeMap<String, u64>>,
    traffic: Arc<wire::Traffic>,
}

impl Scripted {
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

/// Like [`crate::serve`], with a scenario. `control` takes the orders of tests and people: it must be on this machine.
pub async fn serve_scenario(
    listener: TcpListener,
    control: TcpListener,
    settings: Settings,
    scenario: Scenario,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let store = Store::open(&settings.database)?;
    let base_url = base_url(settings.public_url.as_ref(), listener.local_addr()?);
    let stale_after = settings.stale_after;
    let door = Door::new(settings.client.clone());
    let clock = Arc::new(Clock::start());
    let scripted = Arc::new(Scripted {
        store: Arc::clone(&store),
        links: Links::below(&base_url),
        door: Arc::clone(&door),
        clock: Arc::clone(&clock),
        player: Player::new(Arc::clone(&store), clock, &scenario),
        faults: Faults::new(scenario.seed),
        requests: Mutex::default(),
        traffic: Arc::default(),
    });
    for rule in &scenario.faults {
        scripted.faults.add(rule.clone(), 0.0);
    }

    let router = with_layers(routes(Arc::clone(&store), door, settings.public_url.as_ref(), &base_url));
    // Around the router, not in it: some faults change the path.
    let misbehaving = middleware::from_fn_with_state(Arc::clone(&scripted), misbehave::misbehave).layer(router);
    let misbehaving = ServiceExt::<Request>::into_make_service_with_connect_info::<wire::Peer>(misbehaving);
    let is_shut = {
        let scripted = Arc::clone(&scripted);
        move || scripted.faults.refuse(scripted.clock.now_s())
    };
    let gate = wire::Gate::new(listener, is_shut, Arc::clone(&scripted.traffic))?;
    let (stop, stopped) = channel(());
    let server = axum::serve(gate, misbehaving).with_graceful_shutdown(asked_to_end(stopped));
    let control = axum::serve(control, control::routes(Arc::clone(&scripted)));
    tokio::select! {
        ended = server.into_future() => Ok(ended?),
        ended = control.into_future() => Ok(ended?),
        () = end(shutdown, stop) => Ok(()),
        () = scripted.player.play() => Ok(()),
        () = stale::watch(store, stale_after) => Ok(()),
    }
}
