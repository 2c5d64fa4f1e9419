//! How long a mirror waits between two polls of a run: a short while when things change, longer when nothing does, and
//! longer where a poll is much work for the cloud.

use std::time::Duration;

/// While things change, a wait is this part of the longest.
const SHORTEST: f64 = 0.2;

/// While nothing changes, a wait is this part of the time for which nothing has changed: a change is seen late by no more than
/// this part of the time that it took to happen.
const IDLE_SHARE: f64 = 0.2;

/// Fetching takes no more than this part of the time.
const MOST_FETCHING: f64 = 0.05;

/// A cloud that is slow for once must not make a mirror blind: where fetching alone decides, a wait ends here.
const LONGEST_FOR_FETCHING: Duration = Duration::from_secs(120);

/// The waits of one mirror.
#[derive(Debug)]
pub struct Pace {
    longest: Duration,
    /// How long nothing has changed.
    idle_for: Duration,
}

impl Pace {
    /// `longest` is the time between two polls while nothing changes.
    pub fn new(longest: Duration) -> Self {
        Self { longest, idle_for: Duration::ZERO }
    }

    /// The wait after a poll that found changes or none, and for whose responses the cloud took `fetching`.
    pub fn after(&mut self, has_changes: bool, fetching: Duration) -> Duration {
        if has_changes {
            self.idle_for = Duration::ZERO;
        }
        let shortest = self.longest.mul_f64(SHORTEST);
        let wait = self.idle_for.mul_f64(IDLE_SHARE).clamp(shortest, self.longest).max(for_fetching(fetching));
        self.idle_for += wait;
        wait
    }
}

/// The wait that it takes for fetching to be no more than its part of the time.
fn for_fetching(fetching: Duration) -> Duration {
    fetching.mul_f64((1.0 - MOST_FETCHING) / MOST_FETCHING).min(LONGEST_FOR_FETCHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits in milliseconds after polls: `!` found changes, `.` none.
    #[track_caller]
    fn check(longest_ms: u64, polls: &str, fetching_ms: u64, expected: &[u128]) {
        let mut pace = Pace::new(Duration::from_millis(longest_ms));
        let waits: Vec<u128> =
            polls.chars().map(|poll| pace.after(poll == '!', Duration::from_millis(fetching_ms)).as_millis()).collect();
        assert_eq!(waits, expected, "{polls}");
    }

    #[test]
    fn quick_while_things_change_slower_while_nothing_does() {
        check(5_000, "!!!", 0, &[1_000, 1_000, 1_000]);
        check(5_000, "!.......", 0, &[1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_200, 1_440]);
        check(5_000, "!.....!.", 0, &[1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000]);
        check(60_000, "......", 0, &[12_000, 12_000, 12_000, 12_000, 12_000, 12_000]);
    }

    #[test]
    fn the_longest_wait_is_reached_and_kept() {
        let mut pace = Pace::new(Duration::from_secs(5));
        let waits: Vec<u128> = (0..20).map(|_| pace.after(false, Duration::ZERO).as_millis()).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[13..], [4_299, 5_000, 5_000, 5_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn a_large_response_is_requested_less_often() {
        check(5_000, "!", 40, &[1_000]);
        check(5_000, "!.!", 100, &[1_900, 1_900, 1_900]);
        check(5_000, "!.", 1_000, &[19_000, 19_000]);
        check(5_000, "!.", 60_000, &[120_000, 120_000]);
    }

    #[test]
    fn a_slow_response_counts_once() {
        let mut pace = Pace::new(Duration::from_secs(5));
        assert_eq!(pace.after(true, Duration::from_secs(1)), Duration::from_secs(19));
        assert_eq!(pace.after(true, Duration::from_millis(10)), Duration::from_secs(1));
    }
}
