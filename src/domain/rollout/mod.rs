//! A rollout: which share gets the candidate, and what moves it.
//!
//! [`step`] is the whole of it: a state, a plan, what was seen or commanded, and the time go in; the next
//! state, effects and a report come out. It publishes, stores and sends nothing.
//!
//! Invariants: a rollback always succeeds and is left only by `restart` or by another `run` of the file; only
//! active time counts; too little data neither promotes nor rolls back; no step by itself raises the share
//! beyond the plan.

mod catastrophe;
mod command;
mod concerns;
mod exposure;
mod gates;
mod guards;
mod plan;
mod reconcile;
mod state;
mod step;
mod supervision;

pub use catastrophe::{Recent, catastrophe};
pub use command::{Command, Reply, VERBS, Verb, check_reason};
pub use concerns::{Concern, Traffic, concerns};
pub use exposure::{Exposure, Stop};
pub use gates::{Report, Wait, spelled};
pub use guards::{CATASTROPHE, Watched};
pub use plan::{OnDeadline, Plan, Stage, StageIndex, Stages};
pub use state::{Clock, Ground, MAX_PHASES, MAX_REASON, Note, Rollout, Standing, State, Unreadable};
pub use step::{Described, Effect, Event, MAX_ELAPSED, Observed, Outcome, Transition, describe, step};
pub use supervision::{Memory, Place, Seen};

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
