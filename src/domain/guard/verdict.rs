//! Whether a condition holds, given the figures.

use super::{Comparator, Verdict::*};

/// One figure, and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Reading {
    /// The figure.
    pub value: f64,
    /// How many values it is made of.
    pub samples: f64,
}

/// What is known of both arms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// The candidate's figure; `None` without values.
    pub candidate: Option<Reading>,
    /// Control's figure, where the condition compares; `None` without values.
    pub control: Option<Reading>,
    /// Whether the window is shorter than asked for, and the figure grows with time.
    pub is_partial: bool,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "GuardVerdict")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// There is too little to tell.
    NotEnoughData,
}

impl Verdict {
    /// The word in answers and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Holds => "holds",
            Fails => "fails",
            NotEnoughData => "not_enough_data",
        }
    }
}

/// A verdict with its figures.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// The candidate's figure.
    pub found: Option<f64>,
    /// What it was held against.
    pub limit: Option<f64>,
    /// How many values the lesser side has.
    pub samples: f64,
}

impl Finding {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { verdict: NotEnoughData, found: None, limit: None, samples: 0.0 };

    /// Of a condition that has no figures.
    #[must_use]
    pub const fn of_truth(holds: bool) -> Self {
        Self { verdict: if holds { Holds } else { Fails }, found: None, limit: None, samples: 0.0 }
    }
}

/// What the candidate's figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A number.
    Number(f64),
    /// Control's figure times a factor, plus an offset.
    OfControl {
        /// The factor.
        factor: f64,
        /// The offset.
        offset: f64,
    },
}

impl Limit {
    /// The number that it comes to; `None` where control's figure is not known.
    fn of(self, control: Option<Reading>) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::OfControl { factor, offset } => control.map(|control| control.value * factor + offset),
        }
    }
}

/// Holds the candidate's figure against a limit. Under `min_samples` values of either side that it needs,
/// nothing is said.
#[must_use]
pub fn judge(comparator: Comparator, limit: Limit, figures: &Figures, min_samples: f64) -> Finding {
    let found = figures.candidate.map(|reading| reading.value);
    let samples_of = |reading: Option<Reading>| reading.map_or(0.0, |reading| reading.samples);
    let samples = match limit {
        Limit::Number(_) => samples_of(figures.candidate),
        Limit::OfControl { .. } => samples_of(figures.candidate).min(samples_of(figures.control)),
    };
    let limit = limit.of(figures.control);
    let verdict = match (found, limit) {
        (Some(found), Some(limit)) if found.is_finite() && limit.is_finite() => {
            let holds = comparator.holds(found, limit);
            // What only grows has passed an upper limit for good, and a lower one only once the time is up.
            let settled = !figures.is_partial || holds == comparator.is_upward();
            match (settled && samples >= min_samples, holds) {
                (false, _) => NotEnoughData,
                (true, true) => Holds,
                (true, false) => Fails,
            }
        }
        _ => NotEnoughData,
    };
    Finding { verdict, found, limit, samples }
}
