//! The reasons of a decision, and the order in which they are asked.

use crate::domain::rollout::Stop;

/// Why an arm was assigned, or why another one serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The kill switch is thrown: control.
    Disabled,
    /// A tester's header with its key.
    Override,
    /// It was rolled back: control, until somebody restarts.
    RolledBack,
    /// Nobody knows whether it was rolled back, since the store cannot be read: control.
    StateUnknown,
    /// `forced` in the file.
    Forced,
    /// The key is listed in `targets`.
    Target,
    /// No stage with a share has begun: control.
    NotStarted,
    /// The key is in the holdout: control.
    Holdout,
    /// The key is outside of the route's slots in its exclusive group: control.
    Excluded,
    /// Another route assigns another arm than this one asks for: control.
    Prerequisite,
    /// The user is not eligible: control.
    Condition,
    /// A running conversation keeps its arm.
    Pinned,
    /// A rule of the route matches: its arm, or its own percentage.
    Rule,
    /// There is no key to split by: control.
    NoKey,
    /// The hash against the current percentage.
    Rollout,
    /// Candidate was assigned, and its breaker does not let the request pass.
    BreakerOpen,
    /// Candidate was assigned, and it asked to be left alone (429 with `retry-after`).
    RateLimited,
    /// Candidate was assigned, and its daily budget is spent.
    Budget,
    /// Candidate was assigned, and its quality gate is shut.
    QualityGate,
    /// Candidate was assigned, and it has `max_in_flight` requests already.
    Busy,
    /// Candidate serves as a probe of a half-open breaker.
    BreakerProbe,
    /// Candidate serves as a probe of a shut quality gate.
    QualityProbe,
    /// Candidate was tried and failed; control answered.
    Fallback,
    /// The request ended before all that the decision needs of it had come.
    Undecided,
}

/// The order in which assignment is decided; the first that applies wins.
pub const ASSIGNMENT_ORDER: [Reason; 15] = [
    Reason::Disabled,
    Reason::Override,
    Reason::RolledBack,
    Reason::StateUnknown,
    Reason::Forced,
    Reason::Target,
    Reason::NotStarted,
    Reason::Holdout,
    Reason::Excluded,
    Reason::Prerequisite,
    Reason::Condition,
    Reason::Pinned,
    Reason::Rule,
    Reason::NoKey,
    Reason::Rollout,
];

/// The order in which health may give an assigned candidate's request to control.
pub const HEALTH_ORDER: [Reason; 5] =
    [Reason::BreakerOpen, Reason::RateLimited, Reason::Budget, Reason::QualityGate, Reason::Busy];

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 24] = [
        Self::Disabled,
        Self::Override,
        Self::RolledBack,
        Self::StateUnknown,
        Self::Forced,
        Self::Target,
        Self::NotStarted,
        Self::Holdout,
        Self::Excluded,
        Self::Prerequisite,
        Self::Condition,
        Self::Pinned,
        Self::Rule,
        Self::NoKey,
        Self::Rollout,
        Self::BreakerOpen,
        Self::RateLimited,
        Self::Budget,
        Self::QualityGate,
        Self::Busy,
        Self::BreakerProbe,
        Self::QualityProbe,
        Self::Fallback,
        Self::Undecided,
    ];

    /// The word in headers, labels, logs and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Override => "override",
            Self::RolledBack => "rolled_back",
            Self::StateUnknown => "state_unknown",
            Self::Forced => "forced",
            Self::Target => "target",
            Self::NotStarted => "not_started",
            Self::Holdout => "holdout",
            Self::Excluded => "excluded",
            Self::Prerequisite => "prerequisite",
            Self::Condition => "condition",
            Self::Pinned => "pinned",
            Self::Rule => "rule",
            Self::NoKey => "no_key",
            Self::Rollout => "rollout",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::Budget => "budget",
            Self::QualityGate => "quality_gate",
            Self::Busy => "busy",
            Self::BreakerProbe => "breaker_probe",
            Self::QualityProbe => "quality_probe",
            Self::Fallback => "fallback",
            Self::Undecided => "undecided",
        }
    }

    /// Why control serves everybody.
    #[must_use]
    pub const fn of_stop(stop: Stop) -> Self {
        match stop {
            Stop::RolledBack => Self::RolledBack,
            Stop::StateUnknown => Self::StateUnknown,
        }
    }

    /// Whether one request alone is let through, to see how the candidate is.
    #[must_use]
    pub const fn is_probe(self) -> bool {
        matches!(self, Self::BreakerProbe | Self::QualityProbe)
    }

    /// Position in [`Reason::ALL`], for tables with one cell a reason.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
