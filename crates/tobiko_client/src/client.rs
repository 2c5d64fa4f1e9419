//! The calls of the V1 API.
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use tobiko_api::records::{Record, RecordReader, Records};
use tobiko_api::warn::warn_once;
use url::Url;

use crate::address::{call, checked, shown, with_limit};
use crate::answer::{Meaning, brings_records, read, records};
use crate::auth::Auth;
use crate::error::Failure;
use crate::retry::retry;
use crate::transport::{answer, http_client, pieces, send};
use crate::{
    Dag, Error, Evaluation, EvaluationsQuery, Info, Limits, Plan, PlansQuery, Run, RunsQuery, Secret, Settings,
};

/// The service answers so many records to a call without a limit, and may hold back more.
const DEFAULT_LIMIT: u32 = 100;
/// What is asked for then, one after the other until the answer is shorter.
const LARGER_LIMITS: [u32; 3] = [10_000, 100_000, 1_000_000];
/// What is asked for when the first of those is refused.
const MODEST_LIMIT: u32 = 1_000;
/// A bearer may be refused so often in one call: the one in memory, the one of another process, a new one.
const MOST_BEARERS: u32 = 3;
/// What the answers of a local cloud carry, with its version.
const LOCAL_CLOUD_HEADER: &str = "x-tobiko-local-cloud";

/// Asks Tobiko Cloud, or a server that speaks its V1 API. Meant to be made once and shared: it keeps connections and a token.
pub struct Client {
    base_url: Url,
    limits: Limits,
    http: reqwest::Client,
    auth: Auth,
    requests: AtomicU64,
    fetching_us: AtomicU64,
    is_local_cloud: AtomicBool,
    /// For each list call that is known to hold back records: the limit that brought them all.
    larger_limits: Mutex<HashMap<&'static str, u32>>,
}

impl Client {
    /// Checks the settings. Nothing is sent.
    pub fn new(settings: Settings) -> Result<Client, Error> {
        let http = http_client(settings.ca_file.as_deref(), &settings.limits)?;
        Ok(Client {
            base_url: checked(&settings.base_url, "TCLOUD_BASE_URL")?,
            auth: Auth::new(&settings, &http)?,
            limits: settings.limits,
            http,
            requests: AtomicU64::new(0),
            fetching_us: AtomicU64::new(0),
            is_local_cloud: AtomicBool::new(false),
            larger_limits: Mutex::default(),
        })
    }

    /// The DAG of an environment; `None`: it does not exist.
    pub async fn dag(&self, environment: &str) -> Result<Option<Dag>, Error> {
        self.one(self.url(&["dags", environment], [])).await
    }

    /// The runs that the query asks for.
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
    /// There may be very many: they are put into a collection one after the other while they come in. What broke off is begun
    /// again with a new collection, so each try calls `collection` once.
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

    /// The evaluations that the query asks for.
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

    /// The plans that the query asks for; `None`: the cloud has no such call (Tobiko Cloud).
    pub async fn plans(&self, query: &PlansQuery) -> Result<Option<Vec<Plan>>, Error> {
        let parameters = [
            ("environment", Some(query.environment.clone())),
            ("since_seq", query.since_seq.map(|seq| seq.to_string())),
            ("limit", query.limit.map(|limit| limit.to_string())),
            ("sort", query.sort.map(|sort| sort.as_str().to_owned())),
        ];
        let Some(url) = self.url(&["plans"], parameters) else { return Ok(None) };
        let found = self.records(&Call::of_local_cloud(url), &Vec::new).await?;
        Ok(found.map(|records| records.list))
    }

    /// One plan, which may be open; `None`: the cloud does not know it, or has no such call (Tobiko Cloud).
    pub async fn plan(&self, plan_id: &str) -> Result<Option<Plan>, Error> {
        self.one_of_local_cloud(self.url(&["plans", plan_id], [])).await
    }

    /// What the server says of itself and its projects; `None`: it has no such call (Tobiko Cloud).
    pub async fn info(&self) -> Result<Option<Info>, Error> {
        self.one_of_local_cloud(self.url(&["info"], [])).await
    }

    /// Makes a local cloud forget an environment with its runs and plans. False: it knows no such environment (any more), or has no
    /// such call (Tobiko Cloud).
    pub async fn forget_environment(&self, environment: &str) -> Result<bool, Error> {
        let Some(url) = self.url(&["environments", environment], []) else { return Ok(false) };
        let call = Call { method: Method::DELETE, ..Call::of_local_cloud(url) };
        Ok(self.records::<Info, _>(&call, &Vec::new).await?.is_some())
    }

    /// True once an answer has shown that the server is a local cloud.
    pub fn is_local_cloud(&self) -> bool {
        self.is_local_cloud.load(Ordering::Relaxed)
    }

    /// What a person calls the cloud: "SQLMesh" when it is a local cloud that its recorder feeds, else "Tobiko Cloud". Certain after
    /// the first answer.
    pub fn cloud_name(&self) -> &'static str {
        if self.is_local_cloud() { "SQLMesh" } else { "Tobiko Cloud" }
    }

    /// Requests sent to the API so far, retries counted, those for tokens not.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How long the API took for its answers so far, reading them included. What was not answered, and waits between retries,
    /// do not count.
    pub fn fetching(&self) -> Duration {
        Duration::from_micros(self.fetching_us.load(Ordering::Relaxed))
    }

    /// The URL of a call; `None` when it can name nothing.
    fn url<const N: usize>(&self, segments: &[&str], parameters: [(&str, Option<String>); N]) -> Option<Url> {
        call(&self.base_url, segments, parameters)
    }

    async fn one<T: Record>(&self, url: Option<Url>) -> Result<Option<T>, Error> {
        let Some(url) = url else { return Ok(None) };
        self.first(&Call::get(url)).await
    }

    async fn one_of_local_cloud<T: Record>(&self, url: Option<Url>) -> Result<Option<T>, Error> {
        let Some(url) = url else { return Ok(None) };
        self.first(&Call::of_local_cloud(url)).await
    }

    async fn first<T: Record>(&self, call: &Call) -> Result<Option<T>, Error> {
        Ok(self.records::<T, _>(call, &Vec::new).await?.and_then(|records| records.list.into_iter().next()))
    }

    /// All records. Without a limit of the caller's, an answer of exactly the default limit is asked again with a larger one;
    /// `name` remembers what it took.
    async fn list<T: Record, C: Extend<T>>(
        &self,
        name: &'static str,
        url: Option<Url>,
        limit: Option<u32>,
        collection: &impl Fn() -> C,
    ) -> Result<C, Error> {
        let Some(url) = url else { return Ok(collection()) };
        if let Some(limit) = limit {
            return Ok(self.list_once(with_limit(&url, limit), collection).await?.list);
        }
        let known = self.larger_limits().get(name).copied();
        let first = known.map_or(url.clone(), |limit| with_limit(&url, limit));
        let mut found = self.list_once(first, collection).await?;
        let mut most = known.unwrap_or(DEFAULT_LIMIT);
        for larger in LARGER_LIMITS {
            if found.received != most as usize {
                break;
            }
            if larger <= most {
                continue;
            }
            let mut asked_for = larger;
            let mut again = self.list_once(with_limit(&url, larger), collection).await;
            if matches!(again, Err(Error::Refused { .. })) && most < MODEST_LIMIT {
                asked_for = MODEST_LIMIT;
                again = self.list_once(with_limit(&url, MODEST_LIMIT), collection).await;
            }
            match again {
                Ok(more) if more.received > most as usize => {
                    self.larger_limits().insert(name, asked_for);
                    (found, most) = (more, asked_for);
                }
                // There are no more (or fewer by now), or the server gives no more.
                Ok(same) => {
                    found = same;
                    break;
                }
                Err(Error::Refused { detail, .. }) => {
                    warn_once(format!("the cloud gives {most} {name} at most, there may be more: {detail}"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found.list)
    }

    fn larger_limits(&self) -> MutexGuard<'_, HashMap<&'static str, u32>> {
        self.larger_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call for a list with its retries; what the API does not know has no records.
    async fn list_once<T: Record, C: Extend<T>>(
        &self,
        url: Url,
        collection: &impl Fn() -> C,
    ) -> Result<Records<C>, Error> {
        let found = self.records(&Call::get(url), collection).await?;
        Ok(found.unwrap_or_else(|| Records { list: collection(), received: 0, unrecognized: false }))
    }

    /// One call with its retries; `None`: the API knows no such thing.
    async fn records<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        collection: &impl Fn() -> C,
    ) -> Result<Option<Records<C>>, Error> {
        retry(self.limits, &shown(&call.url), || self.try_once(call, collection)).await
    }

    /// One try; a bearer that is refused is renewed within it.
    async fn try_once<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        collection: &impl Fn() -> C,
    ) -> Result<Option<Records<C>>, Failure> {
        let mut bearer = self.auth.bearer(None).await?;
        let mut bearers = 1;
        loop {
            let said = match self.ask::<T, C>(call, &bearer.secret, collection).await? {
                Meaning::Records(records) => return Ok(Some(records)),
                Meaning::Empty => return Ok(Some(Records { list: collection(), received: 0, unrecognized: false })),
                Meaning::NotFound => return Ok(None),
                Meaning::NewTokenNeeded(said) => said,
            };
            if bearer.is_last || bearers == MOST_BEARERS {
                return Err(self.auth.not_let_in(shown(&call.url), &said).into());
            }
            bearer = self.auth.bearer(Some(&bearer.secret)).await?;
            bearers += 1;
        }
    }

    /// One request.
    async fn ask<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        bearer: &Secret,
        collection: &impl Fn() -> C,
    ) -> Result<Meaning<C>, Failure> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let Call { method, url, .. } = call;
        let response = send(&self.http, method, url, bearer).await?;
        if response.headers().contains_key(LOCAL_CLOUD_HEADER) {
            self.is_local_cloud.store(true, Ordering::Relaxed);
        }
        let status = response.status().as_u16();
        let (meaning, size) = if brings_records(status) {
            let (from, mut body) = (response.url().clone(), RecordReader::new(collection()));
            pieces(response, |piece| body.feed(piece)).await?;
            let size = body.size();
            (records(status, &from, body, bearer), size)
        } else {
            let answer = answer(response).await?;
            (read(&answer, url, bearer), answer.body.len())
        };
        let took = started.elapsed();
        self.fetching_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tracing::debug!("{method} {url}: {status} with {size} bytes in {:.3} s", took.as_secs_f64());
        match meaning {
            // Whatever such a server answers to a call that only a local cloud has.
            Err(Failure::Lasting(_)) if call.is_of_local_cloud && !self.is_local_cloud() => Ok(Meaning::NotFound),
            meaning => meaning,
        }
    }
}

/// What is sent, apart from who sends it.
struct Call {
    method: Method,
    url: Url,
    /// Only a local cloud has this call: others may answer it in any way.
    is_of_local_cloud: bool,
}

impl Call {
    fn get(url: Url) -> Call {
        Call { method: Method::GET, url, is_of_local_cloud: false }
    }

    fn of_local_cloud(url: Url) -> Call {
        Call { is_of_local_cloud: true, ..Call::get(url) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.base_url.as_str())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
