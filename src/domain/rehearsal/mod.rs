//! Rehearsals: what guards and a plan would do with evidence that is made up, or was recorded.
//!
//! A run passes through the same evidence, guards and [`step`](super::rollout::step) as in the gateway, with the time
//! passed in: thousands of rollouts in minutes, the same for the same seed. There is no network in it, no breaker and
//! no fallback: every request is answered by the arm that it was assigned.
//!
//! | file | what |
//! |---|---|
//! | `chance` | numbers that look random |
//! | `world` | made-up users and what their requests measure |
//! | `recording` | values that were recorded, in their order |
//! | `run` | one rollout after the other, and how they ended |
//! | `demands` | what Pointsman's own guards have to do |

mod chance;
pub mod demands;
mod recording;
mod run;
mod world;

pub use recording::{Recorded, Recording};
pub use run::{Course, Courses, End, Moment, Pace, Subject, Traffic, median, run};
pub use world::{Crowd, Made, Nature, World};

#[cfg(test)]
mod tests;
