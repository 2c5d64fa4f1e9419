//! The calls of the V1 API.
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tobiko_api::records::{Record, Records};
use tobiko_api::warn::warn_once;
use url::Url;

use crate::connection::{Call, Connection};
use crate::http::pagination::{DEFAULT_LIMIT, next_limit};
use crate::urls::with_limit;
use crate::{ClientConfig, Dag, Error, Evaluation, EvaluationsQuery, Info, Plan, PlansQuery, Run, RunsQuery};

/// A client of Tobiko Cloud, or of a server with the same V1 API. Meant to be made once and shared: it keeps connections and a token.
pub struct Client {
    connection: Connection,
    /// For each list call that is known to be cut at the default limit: the limit that was large enough.
    larger_limits: Mutex<HashMap<&'static str, u32>>,
}

impl Client {
    /// Validates the configuration. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`], when it cannot work.
    pub fn new(config: ClientConfig) -> Result<Client, Error> {
        Ok(Client { connection: Connection::new(config)?, larger_limits: Mutex::default() })
    }

    /// The DAG of an environment; `None`: it does not exist.
    pub async fn dag(&self, environment: &str) -> Result<Option<Dag>, Error> {
        self.one(self.url(&["dags", environment], [])).await
    }

    /// The runs that match the query.
    pub async fn runs(&self, query: &RunsQuery) -> Result<Vec<Run>, Error> {
        let parameters = [
            ("environment", query.environment.clone()),
            ("last", query.last.map(|last| last.to_string())),
            ("since_run_id", query.since_run_id.clone()),
            ("sort", query.sort.map(|sort| sort.as_str().to_owned())),
        ];
        self.list("runs", self.url(&["runs"], parameters), query.limit, &Vec::new).await
    }

    /// One run; `None`: the cloud does not know it.
    pub async fn run(&self, run_id: &str) -> Result<Option<Run>, Error> {
        self.one(self.url(&["runs", run_id], [])).await
    }

    /// All evaluations of a run, or those of one node.
    ///
    /// There may be very many: they are put into a collection one after the other while they are received. An interrupted response
    /// is requested again with a new collection, so each try calls `collection` once.
    pub async fn run_evaluations<C: Extend<Evaluation>>(
        &self,
        run_id: &str,
        node_name: Option<&str>,
        collection: impl Fn() -> C,
    ) -> Result<C, Error> {
        let parameters = [("node_name", node_name.map(str::to_owned))];
        let url = self.url(&["runs", run_id, "evaluations"], parameters);
        self.list("evaluations of a run", url, None, &collection).await
    }

    /// The evaluations that match the query.
    pub async fn evaluations(&self, query: &EvaluationsQuery) -> Result<Vec<Evaluation>, Error> {
        let parameters = [
            ("run_id", query.run_id.clone()),
            ("plan_id", query.plan_id.clone()),
            ("environment", query.environment.clone()),
            ("latest", query.latest.map(|latest| latest.to_string())),
            ("node_name", query.node_name.clone()),
            ("sort", query.sort.map(|sort| sort.as_str().to_owned())),
        ];
        self.list("evaluations", self.url(&["evaluations"], parameters), query.limit, &Vec::new).await
    }

    /// One evaluation; `None`: the cloud does not know it.
    pub async fn evaluation(&self, evaluation_id: &str) -> Result<Option<Evaluation>, Error> {
        self.one(self.url(&["evaluations", evaluation_id], [])).await
    }

    /// The plans that match the query; `None`: the cloud has no such call (Tobiko Cloud).
    pub async fn plans(&self, query: &PlansQuery) -> Result<Option<Vec<Plan>>, Error> {
        let parameters = [
            ("environment", Some(query.environment.clone())),
            ("since_seq", query.since_seq.map(|seq| seq.to_string())),
            ("limit", query.limit.map(|limit| limit.to_string())),
            ("sort", query.sort.map(|sort| sort.as_str().to_owned())),
        ];
        let Some(url) = self.url(&["plans"], parameters) else { return Ok(None) };
        let found = self.connection.records(&Call::of_local_cloud(Method::GET, url), &Vec::new).await?;
        Ok(found.map(|records| records.list))
    }

    /// One plan, which may be open; `None`: the cloud does not know it, or has no such call (Tobiko Cloud).
    pub async fn plan(&self, plan_id: &str) -> Result<Option<Plan>, Error> {
        self.one_of_local_cloud(self.url(&["plans", plan_id], [])).await
    }

    /// The description of the server and its projects; `None`: it has no such call (Tobiko Cloud).
    pub async fn info(&self) -> Result<Option<Info>, Error> {
        self.one_of_local_cloud(self.url(&["info"], [])).await
    }

    /// Makes a local cloud forget an environment with its runs and plans. False: it knows no such environment (any more), or has no
    /// such call (Tobiko Cloud).
    pub async fn forget_environment(&self, environment: &str) -> Result<bool, Error> {
        let Some(url) = self.url(&["environments", environment], []) else { return Ok(false) };
        let call = Call::of_local_cloud(Method::DELETE, url);
        Ok(self.connection.records::<Info, _>(&call, &Vec::new).await?.is_some())
    }

    /// True once a response has shown that the server is a local cloud.
    pub fn is_local_cloud(&self) -> bool {
        self.connection.is_local_cloud()
    }

    /// What a person calls the cloud: "SQLMesh" when it is a local cloud that its recorder feeds, else "Tobiko Cloud". Certain after
    /// the first response.
    pub fn cloud_name(&self) -> &'static str {
        if self.is_local_cloud() { "SQLMesh" } else { "Tobiko Cloud" }
    }

    /// Requests sent to the API so far, with retries, without those for tokens.
    pub fn requests(&self) -> u64 {
        self.connection.requests()
    }

    /// How long the responses of the API took so far, with reading them. Failed requests and waits between retries do not count.
    pub fn fetching(&self) -> Duration {
        self.connection.fetching()
    }

    /// The URL of a call; `None` when it can name nothing.
    fn url<const N: usize>(&self, segments: &[&str], parameters: [(&str, Option<String>); N]) -> Option<Url> {
        self.connection.url(segments, parameters)
    }

    async fn one<T: Record>(&self, url: Option<Url>) -> Result<Option<T>, Error> {
        let Some(url) = url else { return Ok(None) };
        self.first(&Call::get(url)).await
    }

    async fn one_of_local_cloud<T: Record>(&self, url: Option<Url>) -> Result<Option<T>, Error> {
        let Some(url) = url else { return Ok(None) };
        self.first(&Call::of_local_cloud(Method::GET, url)).await
    }

    async fn first<T: Record>(&self, call: &Call) -> Result<Option<T>, Error> {
        Ok(self.connection.records::<T, _>(call, &Vec::new).await?.and_then(|records| records.list.into_iter().next()))
    }

    /// All records. A response of exactly the default limit is requested again with a larger one, unless the caller gave a limit.
    /// `name` remembers which one was large enough.
    async fn list<T: Record, C: Extend<T>>(
        &self,
        name: &'static str,
        url: Option<Url>,
        limit: Option<u32>,
        collection: &impl Fn() -> C,
    ) -> Result<C, Error> {
        let Some(url) = url else { return Ok(collection()) };
        if limit.is_some() {
            return Ok(self.list_up_to(&url, limit, collection).await?.list);
        }
        let known = self.larger_limits().get(name).copied();
        let mut found = self.list_up_to(&url, known, collection).await?;
        let mut limit = known.unwrap_or(DEFAULT_LIMIT);
        let mut rejected = None;
        while let Some(larger) = next_limit(limit, found.received, rejected) {
            match self.list_up_to(&url, Some(larger), collection).await {
                Ok(more) => {
                    if more.received > found.received {
                        self.larger_limits().insert(name, larger);
                    }
                    (found, limit) = (more, larger);
                }
                Err(Error::BadRequest { detail, .. }) => {
                    rejected = Some(larger);
                    if next_limit(limit, found.received, rejected).is_none() {
                        warn_once(format!("the cloud sends at most {limit} {name}, there may be more: {detail}"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found.list)
    }

    /// The response with this limit. What the API does not know has no records.
    async fn list_up_to<T: Record, C: Extend<T>>(
        &self,
        url: &Url,
        limit: Option<u32>,
        collection: &impl Fn() -> C,
    ) -> Result<Records<C>, Error> {
        let url = limit.map_or_else(|| url.clone(), |limit| with_limit(url, limit));
        let found = self.connection.records(&Call::get(url), collection).await?;
        Ok(found.unwrap_or_else(|| Records::none(collection())))
    }

    fn larger_limits(&self) -> MutexGuard<'_, HashMap<&'static str, u32>> {
        self.larger_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}
