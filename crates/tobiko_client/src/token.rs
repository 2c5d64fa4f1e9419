//! A token, when it is due, and the cache that holds one and lets one task at a time renew it.
use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use crate::Secret;
use crate::error::Failure;

/// A token is renewed from so long before it expires. (Half its life, when that is shorter.)
const EARLY_SECS: i64 = 5 * 60;
/// When it cannot be renewed, but is not expired yet either, the next try is so much later.
const POSTPONED_SECS: i64 = 30;

/// What the API takes as bearer. Times are unix seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub bearer: Secret,
    pub renew_at: i64,
    pub expires_at: i64,
}

impl Token {
    /// One that was granted now.
    pub fn granted(bearer: Secret, now: i64, expires_in_secs: i64) -> Token {
        let expires_at = now.saturating_add(expires_in_secs);
        Token { bearer, renew_at: expires_at - EARLY_SECS.min(expires_in_secs / 2), expires_at }
    }

    /// One of which only the end is known.
    pub fn ending(bearer: Secret, expires_at: i64) -> Token {
        Token { bearer, renew_at: expires_at.saturating_sub(EARLY_SECS), expires_at }
    }

    /// Not due yet, and not the one that the API refused.
    pub fn is_good(&self, now: i64, refused: Option<&Secret>) -> bool {
        now < self.renew_at && refused != Some(&self.bearer)
    }
}

/// A token in hand.
#[derive(Debug, PartialEq)]
pub(crate) struct Held {
    pub token: Token,
    /// It has just been granted; if the API refuses it, another one would not do better.
    pub is_new: bool,
}

/// The token of this process.
#[derive(Default)]
pub(crate) struct TokenCache {
    current: Mutex<Option<Token>>,
}

impl TokenCache {
    /// The token that is held, or what `renew` brings when there is none, it is due, or it was refused; otherwise `renew` is
    /// never started. One task renews, the others wait for it. If renewing fails for now while the old token still lives, that
    /// one serves on.
    pub async fn get<R>(&self, refused: Option<&Secret>, renew: R) -> Result<Held, Failure>
    where
        R: Future<Output = Result<Held, Failure>>,
    {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.is_good(now(), refused)) {
            return Ok(Held { token: token.clone(), is_new: false });
        }
        let held = renew.await.or_else(|failure| still_good(current.as_ref(), refused, failure))?;
        *current = Some(held.token.clone());
        Ok(held)
    }
}

/// The old token in spite of a failure to renew it, where that may pass and the token has not expired.
pub(crate) fn still_good(old: Option<&Token>, refused: Option<&Secret>, failure: Failure) -> Result<Held, Failure> {
    let alive = |token: &&Token| now() < token.expires_at && refused != Some(&token.bearer);
    match (old.filter(alive), failure) {
        (Some(old), Failure::Passing { url, reason, .. }) => {
            tracing::warn!("the token cannot be renewed for now and serves on until it expires: {url}: {reason}");
            let renew_at = (now() + POSTPONED_SECS).min(old.expires_at);
            Ok(Held { token: Token { renew_at, ..old.clone() }, is_new: false })
        }
        (_, failure) => Err(failure),
    }
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn token(bearer: &str, lives_secs: i64) -> Token {
        Token::granted(bearer.into(), now(), lives_secs)
    }

    fn passing() -> Failure {
        Failure::Passing { url: "u".into(), reason: "r".into(), wait: None }
    }

    #[test]
    fn a_token_is_due_five_minutes_before_its_end() {
        fn check(expires_in_secs: i64, expected_renew_at: i64) {
            assert_eq!(Token::granted("t".into(), 1000, expires_in_secs).renew_at, expected_renew_at);
        }
        check(3600, 1000 + 3300);
        check(600, 1000 + 300);
        check(60, 1000 + 30);
        check(0, 1000);
        let token = Token::ending("t".into(), 1000);
        assert_eq!(token.renew_at, 700);
        assert!(token.is_good(699, None));
        assert!(!token.is_good(700, None));
        assert!(!token.is_good(699, Some(&"t".into())));
        assert!(token.is_good(699, Some(&"other".into())));
    }

    #[tokio::test]
    async fn ten_tasks_renew_once() {
        let cache = std::sync::Arc::new(TokenCache::default());
        let renewed = std::sync::Arc::new(AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (cache, renewed) = (cache.clone(), renewed.clone());
            tasks.spawn(async move {
                let renew = async {
                    renewed.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(Held { token: token("a", 3600), is_new: true })
                };
                cache.get(None, renew).await.unwrap().token.bearer
            });
        }
        assert!(tasks.join_all().await.iter().all(|bearer| bearer.expose() == "a"));
        assert_eq!(renewed.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_and_a_dying_one_serves_on_in_an_outage() {
        let cache = TokenCache::default();
        let held = |bearer: &str, secs| Ok(Held { token: token(bearer, secs), is_new: true });
        assert_eq!(cache.get(None, async { Err(passing()) }).await, Err(passing()));
        assert_eq!(cache.get(None, async { held("a", 3600) }).await.unwrap().token.bearer.expose(), "a");
        let refused = Secret::from("a");
        assert_eq!(cache.get(Some(&refused), async { Err(passing()) }).await, Err(passing()));
        // Due at once, but alive for an hour.
        let due = Token { renew_at: 0, ..token("b", 3600) };
        let renew = async { Ok(Held { token: due, is_new: true }) };
        assert_eq!(cache.get(Some(&refused), renew).await.unwrap().token.bearer.expose(), "b");
        assert_eq!(cache.get(None, async { Err(passing()) }).await.unwrap().token.bearer.expose(), "b");
        // And it is not tried again at once.
        assert_eq!(cache.get(None, async { panic!("postponed") }).await.unwrap().token.bearer.expose(), "b");
    }
}
