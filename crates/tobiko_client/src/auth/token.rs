//! A token, when it is refreshed, and the cache that keeps one and lets one task at a time refresh it.
use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use crate::Secret;
use crate::error::Failure;

/// A token is refreshed from so long before it expires. (Half its lifetime, when that is shorter.)
const EARLY_SECS: i64 = 5 * 60;
/// When it cannot be refreshed, but has not expired yet either, the next try is so much later.
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

    /// Not due to be refreshed, and not the one that the API rejected.
    pub fn is_valid(&self, now: i64, rejected: Option<&Secret>) -> bool {
        now < self.renew_at && rejected != Some(&self.bearer)
    }
}

/// A token, and where it is from.
#[derive(Debug, PartialEq)]
pub(crate) struct CachedToken {
    pub token: Token,
    /// It has just been granted; if the API rejects it, another one would not do better.
    pub is_new: bool,
}

/// The token of this process.
#[derive(Default)]
pub(crate) struct TokenCache {
    current: Mutex<Option<Token>>,
}

impl TokenCache {
    /// The cached token, or the result of `refresh` when there is none, it is due, or it was rejected; otherwise `refresh` is
    /// never started. One task refreshes, the others wait for it. If that fails for now while the old token is still valid, the old
    /// one remains in use.
    pub async fn get<R>(&self, rejected: Option<&Secret>, refresh: R) -> Result<CachedToken, Failure>
    where
        R: Future<Output = Result<CachedToken, Failure>>,
    {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.is_valid(now(), rejected)) {
            return Ok(CachedToken { token: token.clone(), is_new: false });
        }
        let cached = refresh.await.or_else(|failure| or_still_valid(current.as_ref(), rejected, failure))?;
        *current = Some(cached.token.clone());
        Ok(cached)
    }
}

/// The old token in spite of a failure to refresh it, where that is transient and the token has not expired.
pub(crate) fn or_still_valid(
    old: Option<&Token>,
    rejected: Option<&Secret>,
    failure: Failure,
) -> Result<CachedToken, Failure> {
    let still_valid = |token: &&Token| now() < token.expires_at && rejected != Some(&token.bearer);
    match (old.filter(still_valid), failure) {
        (Some(old), Failure::Transient { error, .. }) => {
            tracing::warn!("the token cannot be refreshed for now and is used until it expires: {error}");
            let renew_at = (now() + POSTPONED_SECS).min(old.expires_at);
            Ok(CachedToken { token: Token { renew_at, ..old.clone() }, is_new: false })
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

    fn transient() -> Failure {
        Failure::unreachable("u".into(), "r")
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
        assert!(token.is_valid(699, None));
        assert!(!token.is_valid(700, None));
        assert!(!token.is_valid(699, Some(&"t".into())));
        assert!(token.is_valid(699, Some(&"other".into())));
    }

    #[tokio::test]
    async fn ten_tasks_refresh_once() {
        let cache = std::sync::Arc::new(TokenCache::default());
        let renewed = std::sync::Arc::new(AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (cache, renewed) = (cache.clone(), renewed.clone());
            tasks.spawn(async move {
                let refresh = async {
                    renewed.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(CachedToken { token: token("a", 3600), is_new: true })
                };
                cache.get(None, refresh).await.unwrap().token.bearer
            });
        }
        assert!(tasks.join_all().await.iter().all(|bearer| bearer.expose() == "a"));
        assert_eq!(renewed.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_rejected_token_is_refreshed_and_an_expiring_one_is_used_on_in_an_outage() {
        let cache = TokenCache::default();
        let cached = |bearer: &str, secs| Ok(CachedToken { token: token(bearer, secs), is_new: true });
        assert_eq!(cache.get(None, async { Err(transient()) }).await, Err(transient()));
        assert_eq!(cache.get(None, async { cached("a", 3600) }).await.unwrap().token.bearer.expose(), "a");
        let rejected = Secret::from("a");
        assert_eq!(cache.get(Some(&rejected), async { Err(transient()) }).await, Err(transient()));
        // Due at once, but valid for an hour.
        let due = Token { renew_at: 0, ..token("b", 3600) };
        let refresh = async { Ok(CachedToken { token: due, is_new: true }) };
        assert_eq!(cache.get(Some(&rejected), refresh).await.unwrap().token.bearer.expose(), "b");
        assert_eq!(cache.get(None, async { Err(transient()) }).await.unwrap().token.bearer.expose(), "b");
        // And it is not tried again at once.
        assert_eq!(cache.get(None, async { panic!("postponed") }).await.unwrap().token.bearer.expose(), "b");
    }
}
