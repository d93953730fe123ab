//! Which changes wait for a restart.

use super::model::Config;

/// Keys that are read once, at start, with what tells whether they differ.
type Compare = fn(&Config, &Config) -> bool;

pub(super) const RESTART_KEYS: [(&str, Compare); 7] = [
    ("listen.address", |old, new| old.listen.address != new.listen.address),
    ("listen.threads", |old, new| old.listen.threads != new.listen.threads),
    ("observe.address", |old, new| old.observe.address != new.observe.address),
    ("admin.address", |old, new| old.admin.address != new.admin.address),
    ("limits.max_head", |old, new| old.limits.max_head != new.limits.max_head),
    ("limits.max_headers", |old, new| old.limits.max_headers != new.limits.max_headers),
    ("limits.header_timeout", |old, new| old.limits.header_timeout != new.limits.header_timeout),
];

/// The paths of the keys that differ and take effect with the next start only.
#[must_use]
pub fn restart_required(old: &Config, new: &Config) -> Vec<String> {
    RESTART_KEYS.iter().filter(|(_, differ)| differ(old, new)).map(|(path, _)| (*path).to_owned()).collect()
}
