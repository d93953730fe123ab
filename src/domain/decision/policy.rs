//! What a file says about splitting one route, compiled: nothing in it can be wrong any more.

use std::sync::Arc;

use crate::domain::Arm;
use crate::domain::assignment::{Bucket, Share};
use crate::domain::condition::{Clause, Slot};
use crate::domain::context::{ContextIndex, Contexts};
use crate::domain::percent::Percent;
use crate::domain::rollout::Stop;
use crate::domain::targets::Targets;

/// What the file says about splitting one route.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The kill switch: `false` sends everybody to control.
    pub enabled: bool,
    /// Everybody to this arm.
    pub forced: Option<Arm>,
    /// Keys that always get one arm.
    pub targets: Arc<Targets>,
    /// A share that always gets control, drawn with its own salt.
    pub holdout: Option<Holdout>,
    /// Slots of a group of routes, of which a user gets one route's candidate at most.
    pub exclusive: Option<Exclusive>,
    /// Arms that the user must be assigned on other routes.
    pub prerequisites: Box<[Prerequisite]>,
    /// Who may get the candidate, and which users get an arm or a percentage of their own.
    pub targeting: Targeting,
    /// The share that the candidate serves.
    pub rollout: Share,
    /// Why control serves everybody but testers, if it does.
    pub stop: Option<Stop>,
    /// Whether a stage with a share has begun; before it, only testers and targets get the candidate.
    pub started: bool,
    /// Tells this stretch of a rollout from others with the same share.
    pub mark: Box<str>,
    /// The kind whose key splits.
    pub split_by: ContextIndex,
    /// Hashed behind the key.
    pub salt: Box<str>,
    /// What of a request the decision looks at.
    pub needs: Needs,
}

/// What a decision looks at beside the key that splits; nothing else of a request need be read.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The slots of attributes that conditions look at, ascending.
    pub slots: Box<[Slot]>,
    /// The other kinds whose keys are looked at.
    pub keys: Box<[KeyNeed]>,
}

/// The key of a kind that does not split the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyNeed {
    /// The kind.
    pub kind: ContextIndex,
    /// Whether the sticky anonymous id stands in for it.
    pub anonymous: bool,
}

/// Users who stay with control whatever the percentage.
#[derive(Debug, Clone)]
pub struct Holdout {
    /// How many.
    pub share: Share,
    /// The holdout's own salt: `"{route salt}:holdout"`.
    pub salt: Box<str>,
}

/// The slots of one route in a group: from `low`, up to but without `high`; 100 belongs to the last.
#[derive(Debug, Clone)]
pub struct Exclusive {
    /// The group.
    pub group: Box<str>,
    /// Hashed behind the key for all routes of the group: `"exclusive:{group}"`.
    pub salt: Box<str>,
    /// Where the slots begin.
    pub low: Percent,
    /// Where they end.
    pub high: Percent,
}

impl Exclusive {
    /// The slots of a group.
    #[must_use]
    pub fn new(group: &str, low: Percent, high: Percent) -> Self {
        Self { group: group.into(), salt: format!("exclusive:{group}").into(), low, high }
    }

    /// Whether a bucket under the group's salt lies in the slots, by the formula of the assignment
    /// ([`Bucket::percentage`]).
    #[must_use]
    pub fn contains(&self, bucket: Bucket) -> bool {
        let slot = bucket.percentage();
        self.low.get() <= slot && (slot < self.high.get() || self.high == Percent::HUNDRED)
    }

    /// The bucket of who asks; `None` without a key.
    #[must_use]
    pub fn bucket(&self, kind: ContextIndex, contexts: &Contexts<'_>) -> Option<Bucket> {
        contexts.digest(kind, &self.salt).map(|digest| digest.bucket())
    }
}

/// An arm that the user must be assigned on another route.
#[derive(Debug, Clone)]
pub struct Prerequisite {
    /// The other route.
    pub route: Arc<str>,
    /// The arm.
    pub arm: Arm,
    /// How the other route splits; it has no way back to this one.
    pub policy: Arc<Policy>,
}

/// Conditions of one route.
#[derive(Debug, Clone, Default)]
pub struct Targeting {
    /// Control serves where this does not hold.
    pub eligible: Option<Clause>,
    /// The first whose condition holds decides.
    pub rules: Vec<Rule>,
}

impl Targeting {
    /// The slots that its conditions look at, ascending.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        let rules = self.rules.iter().map(|rule| &rule.condition);
        self.eligible.iter().chain(rules).for_each(|condition| condition.slots(&mut |slot| slots.push(slot)));
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// `[[routes.NAME.rules]]`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The name.
    pub name: Box<str>,
    /// Whom it is for.
    pub condition: Clause,
    /// What they get.
    pub serve: Serve,
}

/// What a rule gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Serve {
    /// An arm.
    Arm(Arm),
    /// The candidate for this share, drawn with the same bucket as the rollout.
    Percent(Share),
}
