//! Where a rollout stands: kept in the store, and carried through restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Plan, StageIndex};
use crate::domain::guard::Reading;
use crate::domain::percent::Percent;
use crate::domain::series::Seconds;

/// Version of what is written.
const SCHEME: u32 = 1;
/// Phases of one run that are kept for statistics; older ones are left out.
pub const MAX_PHASES: usize = 64;
/// Longest reason that an operator can give, in characters.
pub const MAX_REASON: usize = 500;

/// Where a rollout stands. One variant for each state, with its own data only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not started: nobody gets the candidate but by name.
    Draft,
    /// In a stage.
    Running(Standing),
    /// In a stage, going no further until somebody resumes.
    Held {
        /// Where.
        at: Standing,
        /// Why.
        why: String,
    },
    /// A stage has passed and waits for somebody to approve.
    AwaitingApproval(Standing),
    /// Latched: control for everybody, until somebody restarts.
    RolledBack {
        /// The stage in which it was.
        stage: StageIndex,
        /// Why.
        why: String,
    },
    /// The last stage has passed; guards still act.
    Watching(Standing),
    /// The candidate serves its last share for good.
    Completed(Standing),
}

/// Where in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The stage; 0 where the file owns the percentage.
    pub stage: StageIndex,
    /// For how long it has been active here, in milliseconds.
    pub active_ms: u64,
    /// A smaller percentage than the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
}

impl Standing {
    /// At the beginning of a stage.
    #[must_use]
    pub const fn at(stage: StageIndex) -> Self {
        Self { stage, active_ms: 0, cap: None }
    }

    /// For how long it has been active here.
    #[must_use]
    pub const fn active(&self) -> Duration {
        Duration::from_millis(self.active_ms)
    }
}

/// Who did something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "RolloutNote")]
pub struct Note {
    /// A token's name, `guard NAME`, `plan` or `file`.
    pub actor: String,
    /// In words.
    pub reason: String,
    /// When, in seconds since 1970.
    pub at: Seconds,
}

/// How long a guard's condition has held, and how long nothing was known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Active time in which it held, without a break, in milliseconds.
    pub breached_ms: u64,
    /// Active time in which there was too little data, without a break, in milliseconds.
    pub silent_ms: u64,
    /// Whether it has acted for this breach.
    #[serde(default)]
    pub acted: bool,
}

/// What a split rests on beside the percentage, as hashes by name: salt, split key, arms.
pub type Ground = BTreeMap<String, String>;

/// A rollout as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Version of this layout.
    scheme: u32,
    /// Whether the controller owned the percentage.
    pub staged: bool,
    /// Counts beginnings, from 1.
    pub run: u32,
    /// The file's word that began this run.
    #[serde(default)]
    pub run_word: Option<String>,
    /// Counts changes of the share within all runs, so that each has a phase of its own.
    pub entry: u32,
    /// Fingerprints of the stages that were entered, up to the one where it stands.
    #[serde(default)]
    pub passed: Vec<String>,
    /// The share that got the candidate after the last step, in percent.
    #[serde(default)]
    pub share: f64,
    /// What the split rested on when it was last looked at.
    #[serde(default)]
    pub ground: Ground,
    /// The operator's kill switch.
    #[serde(default)]
    pub disabled: bool,
    /// Where it stands.
    pub state: State,
    /// By the guard's name.
    #[serde(default)]
    pub clocks: BTreeMap<String, Clock>,
    /// Keys of the alerts that fire, so that each is told to be over once.
    #[serde(default)]
    pub raised: BTreeSet<String>,
    /// Control's last figures, for guards that go on when nobody gets control; by the guard's name.
    #[serde(default)]
    pub baselines: BTreeMap<String, Reading>,
    /// Phases of this run that statistics may read, in the order of coming.
    #[serde(default)]
    pub phases: Vec<u32>,
    /// Who brought it into this state.
    pub note: Note,
}

/// What is stored is not a rollout that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored state of the rollout is not understood: {0}")]
pub struct Unreadable(String);

impl Rollout {
    /// The beginning of everything.
    #[must_use]
    pub fn new(plan: &Plan, ground: Ground, now: Seconds) -> Self {
        let staged = plan.stages().is_some();
        let state = if staged { State::Draft } else { State::Running(Standing::at(0)) };
        let note = Note { actor: "file".to_owned(), reason: "first seen".to_owned(), at: now };
        Self {
            scheme: SCHEME,
            staged,
            run: 1,
            run_word: None,
            entry: 0,
            passed: Vec::new(),
            share: 0.0,
            ground,
            disabled: false,
            state,
            clocks: BTreeMap::new(),
            raised: BTreeSet::new(),
            baselines: BTreeMap::new(),
            phases: Vec::new(),
            note,
        }
    }

    /// Writes it down.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Strings, numbers and maps with string keys only: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Rollout::to_text`] wrote, and checks it as a file would be checked.
    ///
    /// # Errors
    /// When it is anything else, or of a layout that is not known.
    pub fn of_text(text: &str) -> Result<Self, Unreadable> {
        let found: Self = serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        if found.scheme != SCHEME {
            return Err(Unreadable(format!("layout {} (known is {SCHEME})", found.scheme)));
        }
        let cap = found.state.standing().and_then(|at| at.cap);
        if cap.is_some_and(|cap| Percent::new(cap).is_none()) {
            return Err(Unreadable("a cap that is no percentage".to_owned()));
        }
        Ok(found)
    }

    /// Latched because the same arms are under another name.
    #[must_use]
    pub fn latched_as(mut self, other: &str) -> Self {
        let why = format!("route {other} was rolled back, and this one has its arms");
        self.note = Note { actor: "file".to_owned(), reason: why.clone(), at: self.note.at };
        self.state = State::RolledBack { stage: 0, why };
        self
    }

    /// Whether it is latched.
    #[must_use]
    pub const fn is_rolled_back(&self) -> bool {
        matches!(self.state, State::RolledBack { .. })
    }
}

impl State {
    /// The word in API, metrics and history.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running(_) => "running",
            Self::Held { .. } => "held",
            Self::AwaitingApproval(_) => "awaiting_approval",
            Self::RolledBack { .. } => "rolled_back",
            Self::Watching(_) => "watching",
            Self::Completed(_) => "completed",
        }
    }

    /// The words of all states.
    pub const WORDS: [&'static str; 7] =
        ["draft", "running", "held", "awaiting_approval", "rolled_back", "watching", "completed"];

    /// Where in the plan, for the states that are somewhere in it.
    #[must_use]
    pub const fn standing(&self) -> Option<&Standing> {
        match self {
            Self::Running(at)
            | Self::Held { at, .. }
            | Self::AwaitingApproval(at)
            | Self::Watching(at)
            | Self::Completed(at) => Some(at),
            Self::Draft | Self::RolledBack { .. } => None,
        }
    }

    /// The stage in which it is, or was when it was rolled back.
    #[must_use]
    pub const fn stage(&self) -> Option<StageIndex> {
        match self {
            Self::RolledBack { stage, .. } => Some(*stage),
            Self::Draft => None,
            Self::Running(at)
            | Self::Held { at, .. }
            | Self::AwaitingApproval(at)
            | Self::Watching(at)
            | Self::Completed(at) => Some(at.stage),
        }
    }

    /// Why, where there is a reason of its own.
    #[must_use]
    pub const fn why(&self) -> Option<&str> {
        match self {
            Self::Held { why, .. } | Self::RolledBack { why, .. } => Some(why.as_str()),
            Self::Draft | Self::Running(_) | Self::AwaitingApproval(_) | Self::Watching(_) | Self::Completed(_) => None,
        }
    }
}
