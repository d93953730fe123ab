//! What the gateway tells about itself: access log, log, metrics.

pub mod access;
pub mod log;
pub mod metrics;
pub mod recent;
