//! Guards and gates: a condition over what the arms did, and whether it holds.
//!
//! A *guard* that holds alerts, holds or rolls back; a *gate* that holds lets a rollout go on. Both are one
//! [`Condition`], read by [`parse`] and judged by [`judge`]. Nothing here knows where figures come from.
//!
//! Invariant: an answer has three values. What is not known yet is neither a pass nor a failure.

mod definition;
mod expression;
mod figures;
pub mod sequential;
mod verdict;

pub use definition::{Asks, Baseline, CALLED, Condition, Figure, Guard, Test};
pub use expression::{Against, Comparator, Comparison, Expression, Mistake, Quantity, Statistic, Unit, parse};
pub use figures::{Level, Look, Metrics, Parts, Ring, Tally, built_in, judged};
pub use verdict::{Figures, Finding, Limit, Reading, Verdict, judge};

/// What a guard does when its condition has held for long enough. In the order of strength.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Tells people.
    Alert,
    /// Goes no further until somebody resumes.
    Hold,
    /// Halves the percentage, and holds there.
    Halve,
    /// Goes back to the stage before, and holds there.
    StepBack,
    /// Control for everybody, until somebody restarts.
    Rollback,
}

impl Action {
    /// Every action, the weakest first.
    pub const ALL: [Self; 5] = [Self::Alert, Self::Hold, Self::Halve, Self::StepBack, Self::Rollback];

    /// The word in file, API and history.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Hold => "hold",
            Self::Halve => "halve",
            Self::StepBack => "step_back",
            Self::Rollback => "rollback",
        }
    }

    /// Reads the word that [`Action::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

#[cfg(test)]
mod tests;
