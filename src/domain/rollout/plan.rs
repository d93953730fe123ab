//! A plan: stages with their percentages, times and demands. It belongs to the file, and does not change
//! while it runs; where a rollout stands in it is [`Rollout`](super::Rollout)'s part.

use std::time::Duration;

use crate::domain::percent::Percent;
use crate::domain::phase::Fingerprint;

/// Index of a stage in its plan.
pub type StageIndex = usize;

/// Who owns the percentage of a route, and how it moves.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The file: `percent`. Guards and operators may only cap it.
    Fixed(Percent),
    /// The controller: `[[stages]]`.
    Staged(Stages),
}

/// `[[routes.NAME.rollout.stages]]`, and what belongs to all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Stages {
    /// At least one.
    pub stages: Vec<Stage>,
    /// How long it is watched after the last stage.
    pub watch: Duration,
    /// Another word starts the plan anew; without one an operator starts it.
    pub run: Option<Box<str>>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The name.
    pub name: Box<str>,
    /// The share that gets the candidate.
    pub percent: Percent,
    /// The share of control's requests of which the candidate gets a copy.
    pub shadow: Percent,
    /// Active time before it may end.
    pub hold: Duration,
    /// Requests that were drawn to the candidate before it may end.
    pub min_requests: u64,
    /// Users that were drawn to the candidate before it may end.
    pub min_users: u64,
    /// What happens in its first time does not count for gates and tests.
    pub settle: Duration,
    /// What must hold before it may end, as the file says it.
    pub pass: Vec<Box<str>>,
    /// Whether somebody has to approve its end.
    pub approve: bool,
    /// Active time after which it does not wait any longer.
    pub deadline: Option<Duration>,
    /// What becomes of it then.
    pub on_deadline: OnDeadline,
}

/// What becomes of a stage whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadline {
    /// It holds, and an operator decides.
    Hold,
    /// It rolls back.
    Rollback,
    /// It goes on without its gates.
    Promote,
}

impl OnDeadline {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Hold, Self::Rollback, Self::Promote];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
        }
    }

    /// Reads the word that [`OnDeadline::as_str`] writes.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

impl Stage {
    /// A stage that serves a percentage and demands nothing.
    #[must_use]
    pub fn new(name: &str, percent: Percent) -> Self {
        Self {
            name: name.into(),
            percent,
            shadow: Percent::ZERO,
            hold: Duration::ZERO,
            min_requests: 0,
            min_users: 0,
            settle: Duration::ZERO,
            pass: Vec::new(),
            approve: false,
            deadline: None,
            on_deadline: OnDeadline::Hold,
        }
    }

    /// What it is, in a few digits: a stage that was passed and has another one now was edited. Times and
    /// gates do not count: what they asked for is past.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let parts = Fingerprint::default().with("name", &*self.name);
        let parts = parts.with("percent", self.percent.get().to_bits().to_be_bytes());
        parts.with("shadow", self.shadow.get().to_bits().to_be_bytes()).phase().to_string()
    }
}

impl Plan {
    /// The stages, if the controller owns the percentage.
    #[must_use]
    pub const fn stages(&self) -> Option<&Stages> {
        match self {
            Self::Fixed(_) => None,
            Self::Staged(stages) => Some(stages),
        }
    }

    /// The stage with an index; of a fixed percentage there is none.
    #[must_use]
    pub fn stage(&self, index: StageIndex) -> Option<&Stage> {
        self.stages()?.stages.get(index)
    }

    /// How many stages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stages().map_or(0, |plan| plan.stages.len())
    }

    /// Whether the file owns the percentage.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
