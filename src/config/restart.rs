//! Which changes wait for a restart.

use std::collections::BTreeMap;

use super::model::Config;

/// The value of a key, in words that differ when it does.
type Shown = fn(&Config) -> String;

/// Keys that are read once, at start.
pub(super) const RESTART_KEYS: [(&str, Shown); 5] = [
    ("listen.address", |config| config.listen.address.to_string()),
    ("listen.threads", |config| config.listen.threads.to_string()),
    ("observe.address", |config| config.observe.address.to_string()),
    ("admin.address", |config| config.admin.address.to_string()),
    ("state.store", |config| config.state.store.to_string()),
];

/// The values of the keys that are read once, at start.
#[must_use]
pub fn restart_keys(config: &Config) -> BTreeMap<&'static str, String> {
    RESTART_KEYS.iter().map(|(path, shown)| (*path, shown(config))).collect()
}

/// The paths of the keys that differ and take effect with the next start only.
#[must_use]
pub fn restart_required(old: &Config, new: &Config) -> Vec<String> {
    let differs = |(_, shown): &&(&str, Shown)| shown(old) != shown(new);
    RESTART_KEYS.iter().filter(differs).map(|(path, _)| (*path).to_owned()).collect()
}
