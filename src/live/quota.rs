//! How many of something were taken in the present period, such as requests in a minute: one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::budget::Day;

/// Most in a minute of the clock, and on a day (UTC).
#[derive(Debug, Default)]
pub struct Quotas {
    minute: Quota,
    day: Quota,
}

impl Quotas {
    /// Takes one, or refuses.
    #[must_use]
    pub fn take(&self, (minute, per_minute): (u64, u32), (day, per_day): (Day, u32)) -> bool {
        // One that the minute allows and the day refuses is taken from the minute, too: the day ends later.
        self.minute.take(minute, per_minute) && self.day.take(u64::from(day), per_day)
    }
}

/// The period's number in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Quota(AtomicU64);

impl Quota {
    fn take(&self, period: u64, most: u32) -> bool {
        let period = period & u64::from(u32::MAX);
        let take = |word: u64| {
            let taken = if word >> 32 == period { word & u64::from(u32::MAX) } else { 0 };
            (taken < u64::from(most)).then_some((period << 32) | (taken + 1))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_ends_with_its_period_and_not_before() {
        let quota = Quota::default();
        let taken = |period| (0..10).filter(|_| quota.take(period, 3)).count();
        assert_eq!((taken(7), taken(7), taken(8), taken(9)), (3, 0, 3, 3));
        assert!(!quota.take(10, 0));
        let racers = std::thread::scope(|scope| {
            let taken: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..100).filter(|_| quota.take(11, 57)).count())).collect();
            taken.into_iter().map(|taken| taken.join().unwrap()).sum::<usize>()
        });
        assert_eq!(racers, 57);
    }

    #[test]
    fn both_bounds_hold() {
        let quotas = Quotas::default();
        let taken = |minute| (0..10).filter(|_| quotas.take((minute, 4), (1, 6))).count();
        assert_eq!((taken(1), taken(2), taken(3)), (4, 2, 0));
    }
}
