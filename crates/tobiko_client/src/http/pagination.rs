//! Lists that the service may have cut at its default limit, which is not a page: there is no next one, only a larger limit.

/// The service sends at most so many records when no limit is given, and may hold back more.
pub(crate) const DEFAULT_LIMIT: u32 = 100;

/// The limits to request then, one after the other until the response is shorter.
const LARGER_LIMITS: [u32; 3] = [10_000, 100_000, 1_000_000];

/// The limit to request when the first of those is rejected.
const MODEST_LIMIT: u32 = 1_000;

/// The limit to request next; `None`: no more is to be had. `limit` applied to the last response, which had `received` records;
/// `rejected` is the smallest limit that the service did not take.
pub(crate) fn next_limit(limit: u32, received: usize, rejected: Option<u32>) -> Option<u32> {
    if received != limit as usize {
        return None;
    }
    match rejected {
        None => LARGER_LIMITS.into_iter().find(|larger| *larger > limit),
        Some(rejected) => Some(MODEST_LIMIT).filter(|modest| limit < *modest && *modest < rejected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_response_is_requested_again_with_a_larger_limit() {
        fn check(limit: u32, received: usize, rejected: Option<u32>, expected: Option<u32>) {
            assert_eq!(next_limit(limit, received, rejected), expected, "{limit} {received} {rejected:?}");
        }
        check(100, 0, None, None);
        check(100, 99, None, None);
        check(100, 101, None, None);
        check(100, 100, None, Some(10_000));
        check(1_000, 1_000, None, Some(10_000));
        check(10_000, 100, None, None);
        check(10_000, 10_000, None, Some(100_000));
        check(100_000, 100_000, None, Some(1_000_000));
        check(1_000_000, 1_000_000, None, None);
        check(100, 100, Some(10_000), Some(1_000));
        check(100, 100, Some(1_000), None);
        check(1_000, 1_000, Some(10_000), None);
        check(10_000, 10_000, Some(100_000), None);
    }
}
