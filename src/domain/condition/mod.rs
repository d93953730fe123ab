//! Conditions on who asks: clauses compiled when the file is loaded, evaluated for every request.
//!
//! Evaluation allocates nothing and cannot fail: types were checked, attributes are slots, segments
//! are in place. It knows nothing of where attributes come from; who asks fills [`Facts`].

mod explain;
mod fact;
mod operator;
mod predicate;
mod truth;

use std::sync::Arc;

pub use explain::Examined;
pub use fact::{Fact, Facts, Type};
pub use operator::{Operand, Operator};
pub use predicate::{MAX_OPERANDS, MAX_REGEX_BYTES, Mistake, Predicate};
pub use truth::Truth;

/// Deepest nesting of clauses, those of segments among them.
pub const MAX_DEPTH: usize = 32;
/// Most clauses of one condition, those of segments counted wherever they are referred to.
pub const MAX_CLAUSES: usize = 10_000;

/// Most rules of one route.
pub const MAX_RULES: usize = 1_000;

/// Where the value of an attribute stands in [`Facts`].
pub type Slot = usize;

/// A condition, or a part of one.
#[derive(Debug, Clone)]
pub enum Clause {
    /// All hold.
    All(Box<[Clause]>),
    /// At least one holds.
    Any(Box<[Clause]>),
    /// It does not hold.
    Not(Box<Clause>),
    /// A named condition holds.
    Segment(Arc<Segment>),
    /// An attribute compares.
    Attribute {
        /// Where its value stands.
        slot: Slot,
        /// `user.tier`.
        name: Arc<str>,
        /// The comparison.
        predicate: Predicate,
    },
}

/// `[segments.NAME]`.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The name.
    pub name: Box<str>,
    /// The condition.
    pub clause: Clause,
    /// How large the condition is; kept, since segments that refer to each other double quickly.
    extent: Extent,
}

impl Segment {
    /// A named condition.
    #[must_use]
    pub fn new(name: &str, clause: Clause) -> Self {
        Self { name: name.into(), extent: clause.extent(), clause }
    }
}

/// How large a condition is, segments counted wherever they are referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Levels; a comparison has 1.
    pub depth: usize,
    /// Clauses of all kinds.
    pub clauses: usize,
}

impl Extent {
    /// Whether a condition may be this large.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        self.depth <= MAX_DEPTH && self.clauses <= MAX_CLAUSES
    }
}

impl Clause {
    /// Whether it holds.
    #[must_use]
    pub fn evaluate(&self, facts: &Facts<'_>) -> Truth {
        match self {
            Self::All(clauses) => {
                let mut truth = Truth::True;
                for clause in clauses {
                    truth = truth.and(clause.evaluate(facts));
                    if truth == Truth::False {
                        break;
                    }
                }
                truth
            }
            Self::Any(clauses) => {
                let mut truth = Truth::False;
                for clause in clauses {
                    truth = truth.or(clause.evaluate(facts));
                    if truth == Truth::True {
                        break;
                    }
                }
                truth
            }
            Self::Not(clause) => !clause.evaluate(facts),
            Self::Segment(segment) => segment.clause.evaluate(facts),
            Self::Attribute { slot, predicate, .. } => predicate.holds(facts.get(*slot).and_then(Option::as_ref)),
        }
    }

    /// How large it is; saturates.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let below = match self {
            Self::All(clauses) | Self::Any(clauses) => {
                clauses.iter().map(Self::extent).fold(Extent { depth: 0, clauses: 0 }, |one, other| Extent {
                    depth: one.depth.max(other.depth),
                    clauses: one.clauses.saturating_add(other.clauses),
                })
            }
            Self::Not(clause) => clause.extent(),
            Self::Segment(segment) => segment.extent,
            Self::Attribute { .. } => Extent { depth: 0, clauses: 0 },
        };
        Extent { depth: below.depth + 1, clauses: below.clauses.saturating_add(1) }
    }

    /// Calls `see` with the slot of every attribute that it compares.
    pub fn slots(&self, see: &mut impl FnMut(Slot)) {
        match self {
            Self::All(clauses) | Self::Any(clauses) => clauses.iter().for_each(|clause| clause.slots(see)),
            Self::Not(clause) => clause.slots(see),
            Self::Segment(segment) => segment.clause.slots(see),
            Self::Attribute { slot, .. } => see(*slot),
        }
    }
}

#[cfg(test)]
mod tests;
