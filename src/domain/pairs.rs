//! Preferences between two answers to the same request, and how sure they are.

use serde::{Deserialize, Serialize};

/// The 97.5 % quantile of the standard normal distribution: intervals hold the truth 95 times in 100.
const Z: f64 = 1.959_963_984_540_054;

/// Which of two answers to the same request is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// Control's.
    Control,
    /// The candidate's.
    Candidate,
    /// Neither.
    Tie,
}

impl Preference {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Control, Self::Candidate, Self::Tie];

    /// The word in verdicts, events and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Candidate => "candidate",
            Self::Tie => "tie",
        }
    }

    /// The name under which evidence counts it; no metric of a file can have it.
    #[must_use]
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Control => "shadow.losses",
            Self::Candidate => "shadow.wins",
            Self::Tie => "shadow.ties",
        }
    }

    /// Position in [`Preference::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Reads the word that [`Preference::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preference| preference.as_str() == word)
    }
}

/// How many pairs went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pairs {
    /// The candidate's answer was better.
    pub wins: u64,
    /// Control's was.
    pub losses: u64,
    /// Neither.
    pub ties: u64,
}

/// A share with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WinRate {
    /// Wins of the pairs in which one was better.
    pub rate: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Pairs {
    /// Adds pairs that went one way.
    pub const fn add(&mut self, preference: Preference, count: u64) {
        match preference {
            Preference::Control => self.losses += count,
            Preference::Candidate => self.wins += count,
            Preference::Tie => self.ties += count,
        }
    }

    /// The share of wins among the pairs that are no ties, with Wilson's interval (E. B. Wilson, *Probable
    /// Inference, the Law of Succession, and Statistical Inference*, JASA 22, 1927); `None` without any.
    #[must_use]
    pub fn win_rate(self) -> Option<WinRate> {
        let decided = self.wins + self.losses;
        if decided == 0 {
            return None;
        }
        let (n, rate) = (decided as f64, self.wins as f64 / decided as f64);
        let shrink = 1.0 + Z * Z / n;
        let middle = (rate + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
        Some(WinRate { rate, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // statsmodels 0.15: proportion_confint(wins, wins + losses, method="wilson")
        let rows = [
            (0, 0, None),
            (10, 0, Some((1.0, 0.722_467, 1.0))),
            (0, 10, Some((0.0, 0.0, 0.277_533))),
            (60, 40, Some((0.6, 0.502_003, 0.690_599))),
            (1, 1, Some((0.5, 0.094_531, 0.905_469))),
        ];
        for (wins, losses, expected) in rows {
            let found = Pairs { wins, losses, ties: 7 }.win_rate().map(|rate| (rate.rate, rate.low, rate.high));
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    let (found, expected): ([f64; 3], [f64; 3]) = (found.into(), expected.into());
                    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
                    assert!(near, "{wins} {losses}: {found:?}");
                }
                (found, expected) => assert_eq!(found.is_some(), expected.is_some(), "{wins} {losses}"),
            }
        }
        assert!(Preference::ALL.iter().all(|word| Preference::parse(word.as_str()) == Some(*word)));
    }
}
