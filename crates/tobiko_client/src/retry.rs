//! The retries, all of them: what may pass by itself is tried again, with growing waits, until the limits are reached.
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant, SystemTime};

use backoff::backoff::Stop;
use backoff::future::retry_notify;

use crate::error::Failure;
use crate::{Error, Limits};

/// Calls `attempt` until it succeeds, fails for good, or the limits are reached. `url` is what an error names when time is up.
pub(crate) async fn retry<T, F, A>(limits: Limits, url: &str, mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, Failure>>,
{
    let started = Instant::now();
    let mut tries = 0;
    let one_try = || {
        tries += 1;
        let (tries, attempt) = (tries, attempt());
        async move {
            let left = limits.total.saturating_sub(started.elapsed());
            let failure = match tokio::time::timeout(left, attempt).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Passing { url: url.to_owned(), reason: "no answer in time".to_owned(), wait: None },
            };
            match failure {
                Failure::Lasting(error) => Err(backoff::Error::permanent(error)),
                Failure::Passing { url, reason, wait: asked } => {
                    let spent = Spent { tries, time: started.elapsed() };
                    let counted = if tries == 1 { String::new() } else { format!(" ({tries} tries)") };
                    let error = Error::Unreachable { url, reason: reason + &counted };
                    Err(match next_wait(&limits, spent, asked, random()) {
                        Some(wait) => backoff::Error::retry_after(error, wait),
                        None => backoff::Error::permanent(error),
                    })
                }
            }
        }
    };
    // Every failure brings its own wait or is permanent, so the policy itself is never asked.
    retry_notify(Stop {}, one_try, |error: Error, wait: Duration| {
        if let Error::Unreachable { url, reason } = error {
            tracing::warn!("{url}: {reason}; trying again in {:.1} s", wait.as_secs_f64());
        }
    })
    .await
}

/// What a call has used up.
#[derive(Clone, Copy)]
struct Spent {
    tries: u32,
    time: Duration,
}

/// How long to wait before the next try, if there is one. What the server asked for is obeyed, unless it is more than the time
/// that is left. `random` is from 0 to 1: half of a wait is drawn, so that many clients do not come back at once.
fn next_wait(limits: &Limits, spent: Spent, asked: Option<Duration>, random: f64) -> Option<Duration> {
    if spent.tries >= limits.max_tries {
        return None;
    }
    let doublings = spent.tries.saturating_sub(1).min(30);
    let grown = limits.first_delay.saturating_mul(1 << doublings).min(limits.longest_delay);
    let wait = asked.unwrap_or(grown.mul_f64(0.5 + random / 2.0));
    (spent.time.saturating_add(wait) < limits.total).then_some(wait)
}

/// The header `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn random() -> f64 {
    // The standard library's hash keys are random; no crate is needed for a jitter.
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        max_tries: 5,
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(6),
        total: Duration::from_secs(60),
    };

    #[test]
    fn waits_grow_up_to_the_longest_and_end_with_the_limits() {
        fn check(tries: u32, spent_secs: u64, asked_secs: Option<u64>, random: f64, expected_secs: Option<f64>) {
            let spent = Spent { tries, time: Duration::from_secs(spent_secs) };
            let wait = next_wait(&LIMITS, spent, asked_secs.map(Duration::from_secs), random);
            assert_eq!(wait.map(|wait| wait.as_secs_f64()), expected_secs, "{tries} {spent_secs} {asked_secs:?}");
        }
        check(1, 0, None, 1.0, Some(1.0));
        check(1, 0, None, 0.0, Some(0.5));
        check(2, 0, None, 1.0, Some(2.0));
        check(3, 0, None, 1.0, Some(4.0));
        check(4, 0, None, 1.0, Some(6.0));
        check(5, 0, None, 1.0, None);
        check(1, 58, None, 1.0, Some(1.0));
        check(1, 59, None, 1.0, None);
        check(1, 61, None, 0.0, None);
        check(1, 0, Some(20), 1.0, Some(20.0));
        check(1, 0, Some(0), 1.0, Some(0.0));
        check(1, 0, Some(60), 1.0, None);
        check(1, 30, Some(31), 1.0, None);
        check(5, 0, Some(1), 1.0, None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        fn check(header: &str, expected_secs: Option<u64>) {
            let now = httpdate::parse_http_date("Wed, 01 May 2024 02:00:00 GMT").unwrap();
            assert_eq!(retry_after(header, now), expected_secs.map(Duration::from_secs), "{header}");
        }
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Wed, 01 May 2024 02:00:07 GMT", Some(7));
        check("Wed, 01 May 2024 01:00:00 GMT", Some(0));
        check("-1", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn jitter_is_between_0_and_1_and_differs() {
        let drawn: Vec<f64> = (0..20).map(|_| random()).collect();
        assert!(drawn.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(drawn.iter().any(|number| *number != drawn[0]));
    }
}
