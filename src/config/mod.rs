//! What was typed, checked, and turned into what we run with.
pub mod model;
pub use model::Config;
