//! `[routes.NAME.rollout]` and `[routes.NAME.guards]`, as the gateway runs with them.

pub use crate::domain::guard::{Asks, Baseline, Condition, Figure, Guard, Test};
use crate::domain::rollout::Plan;

/// `[routes.NAME.rollout]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Who owns the percentage, and how it moves.
    pub plan: Plan,
    /// What must hold before a stage ends, by stage.
    pub gates: Vec<Vec<Condition>>,
    /// Whether many failed attempts in few roll back at once.
    pub abort_on_failures: bool,
    /// The share of rollouts of an equal candidate that sequential guards may roll back by mistake,
    /// all together: 0 to 1, both excluded.
    pub error_budget: f64,
}
