//! Where each value of a configuration was typed.

use std::collections::BTreeMap;

use super::node::Node;
use super::spec::ROOT;
use super::visit;

/// Places by key path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, String>);

impl Origins {
    pub(super) fn of_tree(tree: &Node) -> Self {
        let mut places = BTreeMap::new();
        visit::visit(tree, ROOT, &mut |path, _, node| {
            // The items of a list have the list's path; the list comes first.
            places.entry(path.to_owned()).or_insert_with(|| node.origin.describe());
        });
        Self(places)
    }

    /// Where the value of a key path was typed: `gateway.toml:41:13`, `environment NAME` or `default`.
    #[must_use]
    pub fn of(&self, path: &str) -> &str {
        self.0.get(path).map_or("default", String::as_str)
    }

    /// All of them, in the order of key paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, place)| (path.as_str(), place.as_str()))
    }
}
