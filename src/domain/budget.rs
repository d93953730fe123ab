//! What a backend's answers have cost on one day, small enough for one atomic word.
//!
//! It only counts; what happens when a budget is reached is the decision's. Days are UTC's. Invariant: what
//! was spent on another day counts for nothing.

/// Days since 1970-01-01, UTC; enough until 2149.
pub type Day = u16;

/// The largest daily budget, in any currency.
pub const MAX_COST_PER_DAY: f64 = 1e6;

/// Parts of one unit of the currency that are told apart: a token costs about a millionth.
const PARTS: f64 = 1e8;

/// Bits of the word that the sum takes: nearly three times the largest budget.
const SUM_BITS: u32 = 48;
const SUM_MASK: u64 = (1 << SUM_BITS) - 1;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    day: Day,
    parts: u64,
}

impl Spent {
    /// Reads the word that [`Spent::pack`] writes.
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self { day: (word >> SUM_BITS) as Day, parts: word & SUM_MASK }
    }

    /// As one word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        ((self.day as u64) << SUM_BITS) | self.parts
    }

    /// What was spent on this day.
    #[must_use]
    pub fn on(self, day: Day) -> f64 {
        if self.day == day { self.parts as f64 / PARTS } else { 0.0 }
    }

    /// The same with an answer more, which cost this; less than nothing counts as nothing.
    #[must_use]
    pub fn with(self, day: Day, cost: f64) -> Self {
        let before = if self.day == day { self.parts } else { 0 };
        // A cast of what is negative or no number gives 0, of what is too large the largest.
        let parts = before.saturating_add((cost * PARTS).round() as u64).min(SUM_MASK);
        Self { day, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_day_begins_with_nothing_spent() {
        let spent = Spent::default().with(20_000, 30.0).with(20_000, 20.5);
        assert_eq!([19_999, 20_000, 20_001].map(|day| spent.on(day)), [0.0, 50.5, 0.0]);
        let next = spent.with(20_001, 0.25);
        assert_eq!([20_000, 20_001].map(|day| next.on(day)), [0.0, 0.25]);
    }

    #[test]
    fn small_costs_add_up_and_strange_ones_do_no_harm() {
        let spent = (0..1_000).fold(Spent::default(), |spent, _| spent.with(1, 1.5e-7));
        assert!((spent.on(1) - 1.5e-4).abs() < 1e-9, "{}", spent.on(1));
        for strange in [-1.0, f64::NAN, f64::NEG_INFINITY, 0.0] {
            assert_eq!(spent.with(1, strange), spent, "{strange}");
        }
        for large in [f64::INFINITY, f64::MAX, 1e12] {
            assert!(spent.with(1, large).with(1, large).on(1) > 2.0 * MAX_COST_PER_DAY, "{large}");
        }
    }

    proptest! {
        #[test]
        fn a_word_holds_it_all(day in any::<Day>(), cost in 0.0..MAX_COST_PER_DAY) {
            let spent = Spent::default().with(day, cost);
            prop_assert_eq!(Spent::unpack(spent.pack()), spent);
            prop_assert!((spent.on(day) - cost).abs() < 1e-7);
        }
    }
}
