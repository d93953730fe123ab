//! What was typed, checked, and turned into what we run with.
//!
//! `spec` says which keys there are; sources are read into a tree of [`node`]s with places, merged,
//! validated against the keys, and built into a [`Config`]. All mistakes of one run are reported
//! together. Nothing here keeps state, watches files or looks at the clock.

mod check;
mod gather;
mod interpolate;
mod layers;
mod ledger;
mod load;
pub mod model;
pub mod node;
mod origins;
mod parse;
pub mod phase;
mod redact;
mod reference;
pub mod report;
mod restart;
mod schema;
mod sink;
pub mod spec;
mod validate;
mod view;
mod visit;

pub use load::{Fingerprint, LastGood, Loaded, PROFILE_VARIABLE, Sources, fingerprint, load, load_text};
pub use model::Config;
pub use origins::Origins;
pub use parse::{endpoint, url_mistake};
pub use redact::REDACTED;
pub use reference::reference;
pub use report::{Diagnostic, Report, Severity, Told};
pub use restart::{restart_keys, restart_required};
pub use schema::schema;

#[cfg(test)]
mod tests;
