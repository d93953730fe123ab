//! What the gateway thinks, free of the world: no async, no clock, no lock, no I/O.
//!
//! Everything here is a function of its arguments; what needs the time is given it. Nothing in this
//! folder imports from outside of it (`tests/architecture.rs`).

pub mod alert;
pub mod assignment;
pub mod attempt;
pub mod breaker;
pub mod budget;
pub mod condition;
pub mod context;
pub mod decision;
pub mod evidence;
pub mod experiment;
pub mod exposure;
pub mod fallback;
pub mod guard;
pub mod metric;
pub mod pairs;
pub mod percent;
pub mod phase;
pub mod pin;
pub mod pointer;
pub mod quality;
pub mod reading;
pub mod rehearsal;
pub mod rewrite;
pub mod rollout;
pub mod sampling;
pub mod series;
pub mod sketch;
pub mod statistics;
pub mod targets;
pub mod user;
pub mod verdict;
pub mod window;

use std::fmt;

/// One of the two sides of a route. Exactly two, so that every place that handles one handles both.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The trusted backend, to which every doubt leads.
    Control,
    /// The new backend, on trial.
    Candidate,
}

impl Arm {
    /// Both arms, control first.
    pub const ALL: [Self; 2] = [Self::Control, Self::Candidate];

    /// The word used in configuration, API, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Candidate => "candidate",
        }
    }

    /// Position in tables with one cell an arm: control 0, candidate 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Candidate => 1,
        }
    }

    /// Reads the word that [`Arm::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arm| arm.as_str() == word)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
