//! What goes wrong: rules, and which of them apply to a request. `fault_middleware` then carries them out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::names::matches;
use crate::rng::draw;

/// A fault, and the requests that get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// `*` stands for anything.
    #[serde(default = "api")]
    pub path: String,
    pub method: Option<String>,
    /// A text that the query holds.
    pub query: Option<String>,
    #[serde(default)]
    pub from_s: f64,
    pub to_s: Option<f64>,
    /// So many requests go well first.
    #[serde(default)]
    pub skip: u64,
    /// So many requests get it at most.
    pub count: Option<u64>,
    /// How probable it is for each request.
    pub chance: Option<f64>,
    #[serde(rename = "do")]
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// An answer of another kind.
    Answer(Answer),
    /// The connection ends without a byte.
    Drop,
    /// The connection is reset.
    Reset,
    /// The true answer breaks off in the middle of its body.
    Cut,
    /// The true answer, after so many seconds.
    SlowHeaders(f64),
    /// The true answer, its body drop by drop over so many seconds.
    SlowBody(f64),
    /// `slash`: to the same path with a slash at its end; else an origin, where the path goes on.
    Redirect(String),
    /// All tokens given out so far are worth nothing from now on.
    RevokeTokens,
    /// What `since_run_id` means.
    SinceRunId(Since),
    /// A call without a limit gets all records; else no more than the documented 100.
    NoDefaultLimit,
    /// The true answer, changed.
    Alter(Vec<Mutation>),
    /// Nobody listens, whatever the path; connections that are open are reset.
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub status: u16,
    #[serde(default)]
    pub body: Body,
    /// The header, in seconds.
    pub retry_after_s: Option<u64>,
    /// The header, as the date in so many seconds.
    pub retry_after_date_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// `{"detail": ...}`
    #[default]
    Detail,
    Html,
    Empty,
    /// No JSON, though it says so.
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Since {
    /// The answer holds that run itself.
    Included,
    /// As if that run were not known.
    Unknown,
    /// The answer holds all runs.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mutation {
    NullExecutionTime,
    TimesWithoutZone,
    NoOptionalFields,
    NullOptionalFields,
    UnknownFields,
    /// A list of one is that one.
    BareObject,
}

/// All rules of a scenario, those that came by the control endpoint too.
pub(crate) struct Faults {
    seed: u64,
    next_id: AtomicU64,
    rules: Mutex<Vec<Counted>>,
}

struct Counted {
    id: u64,
    rule: Rule,
    met: u64,
    done: u64,
}

/// A rule as `GET /control/state` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    id: u64,
    rule: Rule,
    /// Requests that the rule matched; how many got the fault.
    met: u64,
    done: u64,
}

/// What happens to a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Effect {
    pub mutations: Vec<Mutation>,
    pub since: Option<Since>,
    pub no_default_limit: bool,
    /// What else; at most one thing.
    pub act: Option<Act>,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { seed, next_id: AtomicU64::new(1), rules: Mutex::default() }
    }

    /// `from_s` is the time from which the rule counts. Returns its id.
    pub fn add(&self, mut rule: Rule, from_s: f64) -> u64 {
        rule.from_s += from_s;
        rule.to_s = rule.to_s.map(|to_s| to_s + from_s);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.locked().push(Counted { id, rule, met: 0, done: 0 });
        id
    }

    /// Removes one rule, or all. Whether there was one.
    pub fn remove(&self, id: Option<u64>) -> bool {
        let mut rules = self.locked();
        let before = rules.len();
        rules.retain(|counted| id.is_some_and(|id| id != counted.id));
        rules.len() < before
    }

    pub fn shown(&self) -> Vec<Shown> {
        let rules = self.locked();
        let shown = |counted: &Counted| {
            let Counted { id, rule, met, done } = counted;
            Shown { id: *id, rule: rule.clone(), met: *met, done: *done }
        };
        rules.iter().map(shown).collect()
    }

    /// Whether nobody listens.
    pub fn refuse(&self, now_s: f64) -> bool {
        self.locked().iter().any(|counted| counted.rule.act == Act::Refuse && counted.rule.is_on(now_s))
    }

    /// What happens to this request. Of rules that exclude one another the first applies.
    pub fn apply_to(&self, method: &Method, uri: &Uri, now_s: f64) -> Effect {
        let mut verdict = Effect::default();
        for counted in self.locked().iter_mut().filter(|counted| counted.rule.is_for(method, uri, now_s)) {
            let Counted { id, rule, met, done } = counted;
            let takes = match &rule.act {
                Act::Alter(_) => true,
                Act::SinceRunId(_) => verdict.since.is_none(),
                Act::NoDefaultLimit => !verdict.no_default_limit,
                Act::Refuse => false,
                _ => verdict.act.is_none(),
            };
            if !takes {
                continue;
            }
            *met += 1;
            let drawn = draw(self.seed, &["fault", &id.to_string(), &met.to_string()]);
            let is_over = rule.count.is_some_and(|count| *done >= count);
            if *met <= rule.skip || is_over || drawn >= rule.chance.unwrap_or(1.0) {
                continue;
            }
            *done += 1;
            match &rule.act {
                Act::Alter(mutations) => verdict.mutations.extend(mutations),
                Act::SinceRunId(since) => verdict.since = Some(*since),
                Act::NoDefaultLimit => verdict.no_default_limit = true,
                act => verdict.act = Some(act.clone()),
            }
        }
        verdict
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Counted>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    /// What is wrong with it that its type allows.
    pub fn wrong(&self) -> Option<String> {
        match &self.act {
            Act::Redirect(to) if to != "slash" && !Url::parse(to).is_ok_and(|url| url.has_host()) => {
                Some(format!("redirect: {to:?} is neither \"slash\" nor an origin"))
            }
            Act::Answer(answer) if !(200..600).contains(&answer.status) => {
                Some(format!("answer: {} is no status", answer.status))
            }
            _ => None,
        }
    }

    fn is_on(&self, now_s: f64) -> bool {
        now_s >= self.from_s && self.to_s.is_none_or(|to_s| now_s < to_s)
    }

    fn is_for(&self, method: &Method, uri: &Uri, now_s: f64) -> bool {
        let query = uri.query().unwrap_or_default();
        let asks_since = query.split('&').any(|pair| pair.starts_with("since_run_id="));
        let is_redirected = matches!(&self.act, Act::Redirect(to) if to == "slash") && uri.path().ends_with('/');
        self.is_on(now_s)
            && matches(&self.path, uri.path())
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method.as_str()))
            && self.query.as_deref().is_none_or(|wanted| query.contains(wanted))
            && (asks_since || !matches!(self.act, Act::SinceRunId(_)))
            && !is_redirected
    }
}

fn api() -> String {
    "/api/*".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::from_value;

    fn faults(rules: &str) -> Faults {
        let rules: Vec<Rule> = from_value(serde_norway::from_str(rules).expect("YAML")).expect("rules");
        let faults = Faults::new(1);
        for rule in rules {
            faults.add(rule, 0.0);
        }
        faults
    }

    fn gets_a_fault(faults: &Faults, uri: &str, now_s: f64) -> bool {
        faults.apply_to(&Method::GET, &Uri::try_from(uri).expect("a URI"), now_s) != Effect::default()
    }

    #[test]
    fn a_rule_is_for_some_requests() {
        let check = |rule: &str, uri: &str, now_s: f64, expected: bool| {
            assert_eq!(gets_a_fault(&faults(&format!("[{rule}]")), uri, now_s), expected, "{rule} {uri} {now_s}");
        };
        check("{do: drop}", "/api/v1/runs?x=1", 0.0, true);
        check("{do: drop}", "/auth/token", 0.0, false);
        check("{do: drop, path: /auth/token}", "/auth/token", 0.0, true);
        check("{do: drop, method: post}", "/api/v1/runs", 0.0, false);
        check("{do: drop, method: get}", "/api/v1/runs", 0.0, true);
        check("{do: drop, query: last=true}", "/api/v1/runs?last=true", 0.0, true);
        check("{do: drop, query: last=true}", "/api/v1/runs", 0.0, false);
        check("{do: drop, from_s: 5, to_s: 6}", "/api/v1/runs", 4.9, false);
        check("{do: drop, from_s: 5, to_s: 6}", "/api/v1/runs", 5.0, true);
        check("{do: drop, from_s: 5, to_s: 6}", "/api/v1/runs", 6.0, false);
        check("{do: {redirect: slash}}", "/api/v1/runs", 0.0, true);
        check("{do: {redirect: slash}}", "/api/v1/runs/", 0.0, false);
        check("{do: {since_run_id: included}}", "/api/v1/runs?since_run_id=r1", 0.0, true);
        check("{do: {since_run_id: included}}", "/api/v1/runs", 0.0, false);
        check("{do: refuse}", "/api/v1/runs", 0.0, false);
    }

    #[test]
    fn some_go_well_and_then_so_many_do_not() {
        let faults = faults("[{do: cut, skip: 1, count: 2}]");
        let met: Vec<bool> = (0..5).map(|_| gets_a_fault(&faults, "/api/v1/runs", 0.0)).collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert!(faults.remove(Some(1)) && !faults.remove(None));
    }

    #[test]
    fn chance_has_its_way_about_as_often_as_said() {
        let faults = faults("[{do: reset, chance: 0.3}]");
        let met = (0..1000).filter(|_| gets_a_fault(&faults, "/api/v1/runs", 0.0)).count();
        assert!((240..360).contains(&met), "{met}");
    }

    #[test]
    fn mutations_add_up_and_of_the_rest_the_first_counts() {
        let faults = faults(
            "[{do: {alter: [unknown_fields]}}, {do: drop, count: 1}, {do: {answer: {status: 500}}},
              {do: {alter: [bare_object, null_execution_time]}}, {do: {since_run_id: ignored}}]",
        );
        let uri = Uri::from_static("/api/v1/runs?since_run_id=r1");
        let first = faults.apply_to(&Method::GET, &uri, 0.0);
        assert_eq!((first.mutations.len(), first.since, first.act), (3, Some(Since::Ignored), Some(Act::Drop)));
        let second = faults.apply_to(&Method::GET, &uri, 0.0).act;
        assert!(matches!(second, Some(Act::Answer(Answer { status: 500, body: Body::Detail, .. }))), "{second:?}");
    }

    #[test]
    fn what_cannot_be_done_is_reported() {
        let check = |rule: &str, expected: bool| {
            let rule: Rule = from_value(serde_norway::from_str(rule).expect("YAML")).expect("a rule");
            assert_eq!(rule.wrong().is_none(), expected, "{rule:?}");
        };
        check("{do: {redirect: slash}}", true);
        check("{do: {redirect: 'http://127.0.0.1:1'}}", true);
        check("{do: {redirect: elsewhere}}", false);
        check("{do: {answer: {status: 503}}}", true);
        check("{do: {answer: {status: 42}}}", false);
    }

    #[test]
    fn nobody_listens_for_a_while() {
        let faults = faults("[{do: refuse, from_s: 1, to_s: 2}]");
        assert_eq!([0.5, 1.0, 2.0].map(|now_s| faults.refuse(now_s)), [false, true, false]);
    }
}
