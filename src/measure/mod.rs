//! What the workers record.
//!
//! Two ways out of a worker, because they promise different things. [`counters`] are exact and are
//! what is scraped: plain cells that one worker writes and anybody may sum. [`record`]s go through a
//! bounded ring to the controller, which makes windows and evidence of them; a full ring drops and
//! counts. Neither ever waits.

pub mod counters;
pub mod record;

pub use counters::{Counter, Histogram, RouteCounters, RouteTotals};
pub use record::{Attempt, Record};
