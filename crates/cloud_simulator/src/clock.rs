//! The scenario's own time: seconds since its start. It can be paused, made faster, or set ahead.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use jiff::Timestamp;

/// Longest wait without reading the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

pub(crate) struct Clock {
    /// When the scenario began, by the time that events carry.
    began: Timestamp,
    state: Mutex<State>,
    changed: Notify,
}

/// To the microsecond, as the database keeps it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

struct State {
    /// Since when it has gone at this speed, and what it showed then.
    since: Instant,
    shown_s: f64,
    /// Seconds of the scenario for each real one; 0: it stands.
    speed: f64,
}

impl Clock {
    pub fn start() -> Self {
        let state = State { since: Instant::now(), shown_s: 0.0, speed: 1.0 };
        Self { began: now(), state: Mutex::new(state), changed: Notify::new() }
    }

    pub fn now_s(&self) -> f64 {
        self.locked(|state| state.now_s())
    }

    pub fn speed(&self) -> f64 {
        self.locked(|state| state.speed)
    }

    /// The point in time that `at_s` stands for.
    pub fn timestamp(&self, at_s: f64) -> Timestamp {
        // Rounds, and stays within what an integer holds.
        let micros = self.began.as_microsecond().saturating_add((at_s * 1e6).round() as i64);
        Timestamp::from_microsecond(micros).unwrap_or(self.began)
    }

    /// Changes the speed, then sets the clock ahead.
    pub fn set(&self, speed: Option<f64>, advance_s: f64) {
        self.locked(|state| {
            state.shown_s = state.now_s() + advance_s;
            state.since = Instant::now();
            state.speed = speed.unwrap_or(state.speed);
        });
        self.changed.notify_one();
    }

    /// Returns when it is `at_s`, or earlier when somebody has changed the clock.
    pub async fn wait_until(&self, at_s: f64) {
        let (now_s, speed) = self.locked(|state| (state.now_s(), state.speed));
        let wait_s = (at_s - now_s).max(0.0) / speed;
        let wait = Duration::try_from_secs_f64(wait_s).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.changed.notified() => {}
        }
    }

    fn locked<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn now_s(&self) -> f64 {
        self.shown_s + self.since.elapsed().as_secs_f64() * self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stands_goes_faster_and_is_set_ahead() {
        let clock = Clock::start();
        clock.set(Some(0.0), 100.0);
        let shown = clock.now_s();
        assert!((100.0..110.0).contains(&shown), "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(clock.now_s().to_bits(), shown.to_bits());
        clock.set(Some(10_000.0), 0.0);
        // The changes above may end a wait at once.
        while clock.now_s() < shown + 200.0 {
            clock.wait_until(shown + 200.0).await;
        }
        assert!(clock.now_s() >= shown + 200.0);
        assert_eq!(clock.timestamp(1.5).as_microsecond() - clock.timestamp(0.0).as_microsecond(), 1_500_000);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_change() {
        let clock = Clock::start();
        clock.set(Some(0.0), 0.0);
        // The permit of the change above; then the wait, which only a change can end.
        clock.wait_until(50.0).await;
        tokio::join!(clock.wait_until(50.0), async { clock.set(None, 60.0) });
        assert!(clock.now_s() >= 50.0);
    }
}
