//! A local cloud without its listener: for [`crate::serve`], and for a program that puts something before it and plays the
//! recorder itself.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};

use crate::api::responses;
use crate::auth::Authenticator;
use crate::links::Links;
use crate::router::{base_url, routes, with_layers};
use crate::store::{ActivityFilter, EvaluationFilter, Kind, Project, Store, StoreError, queries};
use crate::timestamp::Timestamp;
use crate::{Error, Settings, heartbeat, ingest};

/// One local cloud: its database, its tokens, its routes. Clones share all of it.
#[derive(Clone)]
pub struct LocalCloud {
    store: Arc<Store>,
    authenticator: Arc<Authenticator>,
    settings: Settings,
    base_url: String,
}

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DatabaseError(#[from] StoreError);

impl LocalCloud {
    /// Opens the database. `listener` is the address at which the server will be reached.
    ///
    /// # Errors
    /// The database cannot be opened, created or brought up to date.
    pub fn open(settings: Settings, listener: SocketAddr) -> Result<Self, Error> {
        let store = Store::open(&settings.database)?;
        let base_url = base_url(settings.public_url.as_ref(), listener);
        let authenticator = Authenticator::new(settings.client.clone());
        Ok(Self { store, authenticator, settings, base_url })
    }

    /// All that it serves: API, recorder's endpoint, token endpoint, pages.
    pub fn router(&self) -> Router {
        let store = Arc::clone(&self.store);
        let authenticator = Arc::clone(&self.authenticator);
        with_layers(routes(store, authenticator, self.settings.public_url.as_ref(), &self.base_url))
    }

    /// Fails runs and plans without a heartbeat, until it is dropped.
    pub async fn watch_heartbeats(&self) {
        heartbeat::watch(Arc::clone(&self.store), self.settings.stale_after).await;
    }

    /// Ingests recorder events (JSON lines), then forgets `forgotten_runs`; one transaction. Returns why events were refused.
    ///
    /// # Errors
    /// The database failed: nothing has changed.
    pub async fn ingest(&self, lines: String, forgotten_runs: Vec<String>) -> Result<Vec<String>, DatabaseError> {
        let result = self.store.write(move |connection| {
            let result = ingest::ingest(connection, &lines, None, Timestamp::now())?;
            for run_id in &forgotten_runs {
                queries::delete_activity(connection, Kind::Run, run_id)?;
            }
            Ok(result)
        });
        Ok(result.await?.refused.into_iter().map(|refusal| refusal.reason).collect())
    }

    /// A heartbeat of each of these runs and plans.
    ///
    /// # Errors
    /// The database failed.
    pub async fn heartbeat(&self, run_ids: Vec<String>, plan_ids: Vec<String>) -> Result<(), DatabaseError> {
        let written = self.store.write(move |connection| {
            let runs = run_ids.iter().map(|id| (Kind::Run, id));
            let mut all = runs.chain(plan_ids.iter().map(|id| (Kind::Plan, id)));
            all.try_for_each(|(kind, id)| queries::record_heartbeat(connection, kind, id, Timestamp::now()))
        });
        Ok(written.await?)
    }

    /// What the API answers about the project without a name: `{"runs": [...], "environments": {name: dag}}`, each run with its `evaluations`,
    /// oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn contents(&self, environment: Option<String>, run_id: Option<String>) -> Result<Value, DatabaseError> {
        let links = Links::below(&self.base_url);
        let found = self.store.read(move |connection| {
            let (mut runs, mut dags) = (Vec::new(), json!({}));
            if let Some(Project { seq: project, .. }) = queries::project(connection, "")? {
                let filter = ActivityFilter {
                    project,
                    kind: Kind::Run,
                    environment: environment.clone(),
                    after: None,
                    newest_first: false,
                    limit: u32::MAX,
                };
                for run in queries::activities(connection, &filter)? {
                    if run_id.as_deref().is_some_and(|wanted| wanted != run.id) {
                        continue;
                    }
                    let of_run =
                        EvaluationFilter { project, run_id: Some(run.id.clone()), ..EvaluationFilter::default() };
                    let evaluations = queries::evaluations(connection, &of_run)?.into_iter();
                    let evaluations: Vec<_> = evaluations.map(|one| responses::evaluation(one, &links)).collect();
                    let due_nodes = queries::due_nodes(connection, run.seq)?;
                    let mut run = json!(responses::run(run, due_nodes, &links));
                    run["evaluations"] = json!(evaluations);
                    runs.push(run);
                }
                for environment in queries::environments(connection, project)? {
                    let dag = queries::dag(connection, project, &environment.name)?;
                    dags[environment.name] = json!(dag.map(|dag| responses::dag(dag, &links)));
                }
            }
            Ok(json!({"runs": runs, "environments": dags}))
        });
        Ok(found.await?)
    }

    /// Makes every token that was issued so far invalid.
    pub fn revoke_tokens(&self) {
        self.authenticator.revoke();
    }
}
