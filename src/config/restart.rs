//! Which changes wait for a restart.

use super::model::Config;

/// Keys that are read once, at start, with what tells whether they differ.
type Compare = fn(&Config, &Config) -> bool;

pub(super) const RESTART_KEYS: [(&str, Compare); 5] = [
    ("listen.address", |old, new| old.listen.address != new.listen.address),
    ("listen.threads", |old, new| old.listen.threads != new.listen.threads),
    ("observe.address", |old, new| old.observe.address != new.observe.address),
    ("admin.address", |old, new| old.admin.address != new.admin.address),
    ("state.store", |old, new| old.state.store != new.state.store),
];

/// The paths of the keys that differ and take effect with the next start only.
#[must_use]
pub fn restart_required(old: &Config, new: &Config) -> Vec<String> {
    RESTART_KEYS.iter().filter(|(_, differ)| differ(old, new)).map(|(path, _)| (*path).to_owned()).collect()
}
