//! The retries, all of them: transient failures are retried with exponential back-off until the configured limits are reached.
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use backoff::future::retry_notify;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::error::Failure;
use crate::{Error, RetryConfig};

/// What is not the API's answer is asked for once more only: a proxy's page may be gone then, and a wrong base URL is soon known.
const UNEXPECTED_MAX_TRIES: u32 = 2;

/// Calls `attempt` until it succeeds, fails permanently, or the limits are reached. `url` is what an error names when time is up.
pub(crate) async fn retry<T, F, A>(config: RetryConfig, url: &str, mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, Failure>>,
{
    let started = Instant::now();
    let time_left = move || config.retry_timeout.saturating_sub(started.elapsed());
    let mut tries = 0;
    // What a call fails with whose last try was cut off by the call's limit: a response says more than its absence.
    let last_error = Mutex::new(None);
    let last_error = &last_error;
    let try_once = || {
        tries += 1;
        let (tries, attempt) = (tries, attempt());
        async move {
            let failure = match tokio::time::timeout(time_left(), attempt).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                Err(_) => match last_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(error) => Failure::Permanent(with_tries(error, tries)),
                    None => Failure::unreachable(url.to_owned(), "no answer in time"),
                },
            };
            Err(match failure {
                Failure::Permanent(error) | Failure::NoApi(error) => backoff::Error::permanent(error),
                Failure::Transient { error, retry_after } => {
                    *last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                    let is_unexpected = matches!(error, Error::UnexpectedResponse { .. });
                    let most =
                        if is_unexpected { UNEXPECTED_MAX_TRIES.min(config.max_tries) } else { config.max_tries };
                    let error = with_tries(error, tries);
                    match retry_after {
                        _ if tries >= most => backoff::Error::permanent(error),
                        Some(wait) if wait >= time_left() => backoff::Error::permanent(error),
                        Some(wait) => backoff::Error::retry_after(error, wait),
                        None => backoff::Error::transient(error),
                    }
                }
            })
        }
    };
    retry_notify(policy(&config), try_once, |error: Error, wait: Duration| {
        let what = match error {
            Error::Unreachable { url, reason } => format!("{url}: {reason}"),
            error => error.to_string(),
        };
        tracing::warn!("{what}; trying again in {:.1} s", wait.as_secs_f64());
    })
    .await
}

/// The waits between tries. They end when the next one would not fit into the call's time.
fn policy(config: &RetryConfig) -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(config.init_backoff)
        .with_max_interval(config.max_backoff)
        .with_multiplier(2.0)
        // Random, so that many clients do not come back at once.
        .with_randomization_factor(0.5)
        .with_max_elapsed_time(Some(config.retry_timeout))
        .build()
}

fn with_tries(error: Error, tries: u32) -> Error {
    match error {
        Error::Unreachable { url, reason } if tries > 1 => {
            Error::Unreachable { url, reason: format!("{reason} ({tries} tries)") }
        }
        error => error,
    }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use backoff::backoff::Backoff;

    use super::*;

    const CONFIG: RetryConfig = RetryConfig {
        max_tries: 4,
        init_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(2),
        retry_timeout: Duration::from_secs(60),
    };

    fn transient(retry_after: Option<Duration>) -> Failure {
        Failure::Transient { error: Error::Unreachable { url: "u".to_owned(), reason: "down".to_owned() }, retry_after }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_time() {
        let secs = Duration::from_secs;
        let mut waits = policy(&RetryConfig { init_backoff: secs(1), max_backoff: secs(6), ..CONFIG });
        for (least, most) in [(0.5, 1.5), (1.0, 3.0), (2.0, 6.0), (3.0, 9.0), (3.0, 9.0)] {
            let wait = waits.next_backoff().unwrap().as_secs_f64();
            assert!((least..=most).contains(&wait), "{wait} is not from {least} to {most}");
        }
        let config = RetryConfig { init_backoff: secs(10), max_backoff: secs(10), retry_timeout: secs(4), ..CONFIG };
        assert_eq!(policy(&config).next_backoff(), None);
    }

    #[tokio::test]
    async fn the_limits_end_a_call() {
        async fn check(config: RetryConfig, failure: Failure, expected_tries: u32, expected: &str) {
            let tries = AtomicU32::new(0);
            let attempt = || {
                tries.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err::<(), _>(failure.clone()))
            };
            let error = retry(config, "u", attempt).await.unwrap_err();
            assert_eq!(
                (tries.load(Ordering::SeqCst), error.to_string().contains(expected)),
                (expected_tries, true),
                "{error}"
            );
        }
        check(CONFIG, transient(None), 4, "down (4 tries)").await;
        check(CONFIG, transient(Some(Duration::ZERO)), 4, "down (4 tries)").await;
        check(CONFIG, transient(Some(Duration::from_secs(61))), 1, "not available: down;").await;
        check(CONFIG, Failure::Permanent(Error::Config("wrong".to_owned())), 1, "wrong").await;
        let no_time =
            RetryConfig { init_backoff: Duration::from_secs(300), max_backoff: Duration::from_secs(300), ..CONFIG };
        check(no_time, transient(None), 1, "not available: down;").await;
    }

    #[tokio::test]
    async fn a_last_try_that_is_cut_off_fails_with_what_was_answered_before() {
        let tries = AtomicU32::new(0);
        let attempt = async || {
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err::<(), _>(transient(None));
            }
            std::future::pending().await
        };
        let config = RetryConfig { retry_timeout: Duration::from_millis(200), ..CONFIG };
        let error = retry(config, "u", attempt).await.unwrap_err();
        assert!(error.to_string().contains("u is not available: down (2 tries)"), "{error}");
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
}
