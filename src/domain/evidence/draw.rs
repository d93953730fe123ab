//! What a hash drew in one phase and stratum: by which percentage, when, and which users.

use super::super::Arm;
use super::super::series::Seconds;
use super::sample::UserSample;

/// `last` is told to so many seconds, so that a route in use does not write its users anew with every request.
const GRAIN: Seconds = 60;

/// One decision that a hash drew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// The percentage by which it was drawn, 0 to 100.
    pub percent: f64,
    /// When.
    pub at: Seconds,
    /// The user's sample; `None` without a key.
    pub user: Option<u64>,
    /// The arm that was assigned.
    pub arm: Arm,
    /// Whether the user got a whole answer, so that the arms can be measured by it.
    pub measured: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// The candidate's percentage; the first one, should there have been several.
    pub percent: f64,
    /// Whether there were several: then nothing is known of how many users each arm should have.
    pub mixed: bool,
    /// The first decision.
    pub first: Seconds,
    /// The last one, to a minute.
    pub last: Seconds,
    /// The users.
    pub users: UserSample,
    pub(super) changed: bool,
}

impl Draw {
    /// With its first decision.
    pub(super) fn new(drawn: Drawn) -> Self {
        let mut draw = Self {
            percent: drawn.percent,
            mixed: false,
            first: drawn.at,
            last: drawn.at,
            users: UserSample::default(),
            changed: true,
        };
        draw.add(drawn);
        draw
    }

    /// Counts a decision.
    pub(super) fn add(&mut self, drawn: Drawn) {
        let before = (self.mixed, self.first, self.last);
        self.mixed |= drawn.percent != self.percent;
        self.first = self.first.min(drawn.at);
        if drawn.at >= self.last + GRAIN {
            self.last = drawn.at;
        }
        self.changed |= before != (self.mixed, self.first, self.last);
        if let Some(user) = drawn.user {
            self.changed |= self.users.add(user, drawn.arm, drawn.measured);
        }
    }

    /// Adds what another process, or an earlier one, has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        self.mixed |= other.mixed || other.percent != self.percent;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.users.merge(&other.users);
        self.changed = true;
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.users.bytes()
    }
}
