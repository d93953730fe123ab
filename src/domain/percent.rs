//! A percentage that was checked once.

use std::fmt;

/// A share from 0 to 100 percent; finite, never NaN.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize)]
#[serde(transparent)]
pub struct Percent(f64);

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0.0);
    /// Everybody.
    pub const HUNDRED: Self = Self(100.0);

    /// Accepts 0 to 100, both included; `None` for anything else, NaN among it.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0, so that one value has one spelling in answers and hashes.
        (0.0..=100.0).contains(&value).then_some(Self(value + 0.0))
    }

    /// The number, 0 to 100.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The smaller of the two: a cap never raises.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shares_are_percentages() {
        for bad in [-0.1, 100.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Percent::new(bad), None, "{bad}");
        }
        assert_eq!(Percent::new(-0.0).map(|p| p.get().is_sign_positive()), Some(true));
        assert_eq!(Percent::new(100.0), Some(Percent::HUNDRED));
    }
}
