//! The record of one settled request: fixed size, so that a ring of them is a bound on memory.

use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::Millis;
use crate::domain::decision::Reason;
use crate::domain::metric::Values;
use crate::domain::percent::Percent;
use crate::domain::phase::Phase;

/// Records a ring holds for each worker: 100 ms of 80,000 requests a second, which is more than one settles.
pub const RING_CAPACITY: usize = 8_192;

/// One settled request.
#[derive(Debug, Clone)]
pub struct Record {
    /// Number of the route; see `live::RouteState::id`.
    pub route: u32,
    /// When it was settled.
    pub at: Millis,
    /// The arm that was assigned.
    pub assigned: Arm,
    /// The arm that served.
    pub served: Arm,
    /// Why.
    pub reason: Reason,
    /// The percentage by which it was drawn, if a hash drew it.
    pub randomised: Option<Percent>,
    /// The index of the rule that decided, if one did: what it draws is a stratum of its own.
    pub rule: Option<u16>,
    /// What the client saw; 0 for nothing.
    pub status: u16,
    /// From arrival to the last byte.
    pub duration_micros: u64,
    /// The phase that the route was in.
    pub phase: Phase,
    /// From arrival to the head of the response, if there was one.
    pub first_byte_micros: Option<u64>,
    /// Whether control answered because the candidate failed.
    pub fell_back: bool,
    /// What the answer that the user got told of the metrics.
    pub values: Values,
    /// The tries, in order.
    pub attempts: [Option<Attempt>; 2],
    /// The user's statistical bucket, if there is a key.
    pub statistical_bucket: Option<u16>,
    /// The user's sample, if there is a key.
    pub user_sample: Option<u64>,
}

/// One try at one arm.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The arm.
    pub arm: Arm,
    /// How it ended.
    pub outcome: Outcome,
    /// From sending to the response head, if there was one.
    pub first_byte_micros: Option<u64>,
    /// From the decision to send to the last byte.
    pub duration_micros: u64,
    /// The value of the route's gate metric in the response, if there was one.
    pub score: Option<f64>,
}
