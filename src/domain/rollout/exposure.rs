//! What a rollout means for requests: the only thing that the decision sees of it.

use crate::domain::percent::Percent;

use super::plan::Plan;
use super::state::{Rollout, State};

/// What a rollout means for requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    /// The share that gets the candidate.
    pub percent: Percent,
    /// The most that the file's own percentage may be.
    pub cap: Option<Percent>,
    /// The share of control's requests of which the candidate gets a copy; `None` leaves it to the file.
    pub shadow: Option<Percent>,
    /// Control for everybody but testers.
    pub stop: Option<Stop>,
    /// Whether a stage with a share has begun.
    pub started: bool,
    /// The operator's kill switch.
    pub disabled: bool,
    /// Tells this stretch from others with the same share; empty where the file owns everything.
    pub mark: String,
}

/// Why control serves everybody but testers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// It was rolled back.
    RolledBack,
    /// Nobody knows whether it was: the store cannot be read.
    StateUnknown,
}

impl Exposure {
    /// What the file alone says.
    #[must_use]
    pub const fn of_file(percent: Percent) -> Self {
        Self { percent, cap: None, shadow: None, stop: None, started: true, disabled: false, mark: String::new() }
    }

    /// Nothing is known yet.
    #[must_use]
    pub const fn unknown() -> Self {
        let stop = Some(Stop::StateUnknown);
        Self {
            percent: Percent::ZERO,
            cap: None,
            shadow: None,
            stop,
            started: true,
            disabled: false,
            mark: String::new(),
        }
    }

    /// Whether anybody gets the candidate who did not get it before: what raises is stored first.
    #[must_use]
    pub fn raises(&self, before: &Self) -> bool {
        let serves_nobody = self.stop.is_some() || self.disabled;
        let lets_go = before.stop.is_some() || before.disabled;
        !serves_nobody && (lets_go || self.percent > before.percent || (self.started && !before.started))
    }
}

impl Rollout {
    /// What it means for requests, under a plan.
    #[must_use]
    pub fn exposure(&self, plan: &Plan) -> Exposure {
        let standing = self.state.standing();
        let (planned, shadow) = match (plan, standing) {
            (Plan::Fixed(percent), _) => (*percent, None),
            (Plan::Staged(_), Some(at)) => plan
                .stage(at.stage)
                .map_or((Percent::ZERO, Some(Percent::ZERO)), |stage| (stage.percent, Some(stage.shadow))),
            (Plan::Staged(_), None) => (Percent::ZERO, Some(Percent::ZERO)),
        };
        let cap = standing.and_then(|at| at.cap).and_then(Percent::new);
        let settling = standing.is_some_and(|at| plan.stage(at.stage).is_some_and(|stage| at.active() < stage.settle));
        let is_stopped = self.is_rolled_back();
        let percent = if is_stopped { Percent::ZERO } else { cap.map_or(planned, |cap| planned.min(cap)) };
        Exposure {
            percent,
            cap,
            shadow: if is_stopped { Some(Percent::ZERO) } else { shadow },
            stop: is_stopped.then_some(Stop::RolledBack),
            started: self.has_started(plan, percent),
            disabled: self.disabled,
            mark: self.mark(settling),
        }
    }

    /// Whether a stage with a share has begun: this one with its own, or one before it.
    fn has_started(&self, plan: &Plan, percent: Percent) -> bool {
        let Plan::Staged(plan) = plan else { return true };
        match (&self.state, self.state.standing()) {
            (State::RolledBack { .. }, _) => true,
            (_, None) => false,
            (_, Some(at)) => {
                let before = plan.stages.iter().take(at.stage);
                percent > Percent::ZERO || (at.cap.is_none() && before.into_iter().any(|stage| stage.percent > percent))
            }
        }
    }

    fn mark(&self, settling: bool) -> String {
        if !self.staged && self.entry == 0 {
            return String::new();
        }
        format!("run {} entry {}{}", self.run, self.entry, if settling { " settling" } else { "" })
    }
}
