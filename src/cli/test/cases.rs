//! The file of cases, read with all its mistakes and their places.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::config::node::{Entry, Node, Origin, Source, SourceKind, Value, parse_document};
use crate::config::{Config, Diagnostic, Severity};
use crate::domain::Arm;
use crate::domain::decision::Reason;

/// Who is expected to get what.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Case {
    /// `users.toml:3:1`.
    pub(super) place: String,
    pub(in crate::cli) route: String,
    pub(in crate::cli) key: Option<String>,
    pub(super) expect: Arm,
    pub(super) reason: Option<Reason>,
    pub(super) override_arm: Option<Arm>,
    /// By name: `user.tier`.
    pub(in crate::cli) attributes: BTreeMap<String, Json>,
}

const KEYS: [&str; 6] = ["route", "key", "expect", "reason", "override", "attributes"];

/// Reads the cases, or tells all mistakes. Route names are checked where there is a configuration.
pub(in crate::cli) fn read(path: &Path, config: Option<&Config>) -> Result<Vec<Case>, Vec<Diagnostic>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(text, path.display().to_string(), config),
        Err(error) => {
            let mut reader = Reader { config, mistakes: Vec::new() };
            reader.mistake(&Origin::Default, "", &format!("cannot read {}: {error}", path.display()), "");
            Err(reader.mistakes)
        }
    }
}

/// See [`read`].
fn parse(text: String, name: String, config: Option<&Config>) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let source = Arc::new(Source { name, kind: SourceKind::File, text });
    let (root, syntax) = parse_document(&source);
    let mut reader = Reader { config, mistakes: Vec::new() };
    for error in syntax {
        let origin = Origin::Source { source: Arc::clone(&source), span: error.span };
        reader.mistake(&origin, "", &error.message, "");
    }
    let cases = if reader.mistakes.is_empty() { reader.cases(&root) } else { Vec::new() };
    if reader.mistakes.is_empty() { Ok(cases) } else { Err(reader.mistakes) }
}

struct Reader<'a> {
    config: Option<&'a Config>,
    mistakes: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn cases(&mut self, root: &Node) -> Vec<Case> {
        self.known_keys(root, "", &["case"]);
        let cases = match root.get("case").map(|node| &node.value) {
            Some(Value::List(cases)) => cases.as_slice(),
            _ => {
                self.mistake(&root.origin, "case", "no cases", "each is a table [[case]]");
                &[]
            }
        };
        cases.iter().filter_map(|node| self.case(node)).collect()
    }

    fn case(&mut self, node: &Node) -> Option<Case> {
        self.known_keys(node, "case", &KEYS);
        let place = node.origin.describe();
        let route = self.text(node, "route", true);
        if let (Some(route), Some(config)) = (&route, self.config)
            && !config.routes.iter().any(|known| *known.name == **route)
        {
            let names: Vec<_> = config.routes.iter().map(|route| &*route.name).collect();
            let found = format!("there is no route {route:?}");
            self.at_key(node, "route", &found, &format!("one of {}", names.join(", ")));
        }
        let key = self.text(node, "key", false);
        let expect = self.word(node, "expect", true, Arm::ALL.map(|arm| (arm.as_str(), arm)));
        let reason = self.word(node, "reason", false, Reason::ALL.map(|reason| (reason.as_str(), reason)));
        let override_arm = self.word(node, "override", false, Arm::ALL.map(|arm| (arm.as_str(), arm)));
        let attributes = self.attributes(node);
        Some(Case { place, route: route?, key, expect: expect?, reason, override_arm, attributes })
    }

    /// `{ user.tier = "premium" }` or `{ "user.tier" = "premium" }`.
    fn attributes(&mut self, node: &Node) -> BTreeMap<String, Json> {
        let mut attributes = BTreeMap::new();
        let Some(value) = node.get("attributes") else { return attributes };
        let Some(table) = value.as_table() else {
            let help = "expected a table: { user.tier = \"premium\" }";
            self.at_key(node, "attributes", &format!("found {}", value.describe()), help);
            return attributes;
        };
        for (kind, entry) in table {
            match entry.node.as_table() {
                Some(inner) => {
                    for (name, entry) in inner {
                        self.attribute(format!("{kind}.{name}"), entry, &mut attributes);
                    }
                }
                None => self.attribute(kind.clone(), entry, &mut attributes),
            }
        }
        attributes
    }

    fn attribute(&mut self, name: String, entry: &Entry, attributes: &mut BTreeMap<String, Json>) {
        let path = "case.attributes";
        let known = self.config.map(|config| config.attributes.iter().map(|known| &*known.name).collect::<Vec<_>>());
        if let Some(known) = known.filter(|known| !known.contains(&name.as_str())) {
            let help = format!("one of {}", known.join(", "));
            self.mistake(&entry.key, path, &format!("there is no attribute {name:?}"), &help);
        }
        match json(&entry.node) {
            Some(value) => drop(attributes.insert(name, value)),
            None => {
                let found = format!("found {}", entry.node.describe());
                self.mistake(&entry.node.origin, path, &found, "expected a value, or a list of strings");
            }
        }
    }

    fn known_keys(&mut self, node: &Node, path: &str, known: &[&str]) {
        let nothing = BTreeMap::new();
        let entries: &BTreeMap<String, Entry> = node.as_table().unwrap_or(&nothing);
        for (name, entry) in entries.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let help = format!("one of {}", known.join(", "));
            self.mistake(&entry.key, path, &format!("`{name}` is not a key"), &help);
        }
    }

    fn text(&mut self, node: &Node, name: &str, required: bool) -> Option<String> {
        let Some(value) = node.get(name) else {
            if required {
                self.mistake(&node.origin, &format!("case.{name}"), "it is not there", "every case has one");
            }
            return None;
        };
        if value.as_text().is_none() {
            self.at_key(node, name, &format!("found {}", value.describe()), "expected a string");
        }
        value.as_text().map(str::to_owned)
    }

    fn word<T: Copy, const N: usize>(
        &mut self,
        node: &Node,
        name: &str,
        required: bool,
        words: [(&str, T); N],
    ) -> Option<T> {
        let text = self.text(node, name, required)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let help = format!("one of {}", words.map(|(word, _)| word).join(", "));
            self.at_key(node, name, &format!("found {text:?}"), &help);
        }
        found
    }

    fn at_key(&mut self, node: &Node, name: &str, found: &str, help: &str) {
        let origin = node.get(name).map_or(&node.origin, |value| &value.origin).clone();
        self.mistake(&origin, &format!("case.{name}"), found, help);
    }

    fn mistake(&mut self, origin: &Origin, path: &str, found: &str, help: &str) {
        self.mistakes.push(Diagnostic {
            severity: Severity::Error,
            origin: origin.clone(),
            path: path.to_owned(),
            found: found.to_owned(),
            help: help.to_owned(),
            hidden: Vec::new(),
        });
    }
}

/// Dates as their text; `None` for what no attribute is.
fn json(node: &Node) -> Option<Json> {
    match &node.value {
        Value::Text(text) | Value::Other(text) => Some(Json::from(text.as_str())),
        Value::Integer(number) => Some(Json::from(*number)),
        Value::Float(number) => Some(Json::from(*number)),
        Value::Bool(word) => Some(Json::from(*word)),
        Value::List(items) => items.iter().map(json).collect::<Option<Vec<_>>>().map(Json::from),
        Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = r#"other = 1
[[case]]
route = "answers"
expect = "neither"
[[case]]
key = 7
expect = "control"
reson = "rollout"
"#;
        let found = parse(text.to_owned(), "users.toml".to_owned(), None).unwrap_err();
        let found: Vec<_> = found.iter().map(|d| format!("{} {}: {}", d.place_text(), d.path, d.found)).collect();
        assert_eq!(
            found,
            [
                "users.toml:1:1 : `other` is not a key",
                "users.toml:4:10 case.expect: found \"neither\"",
                "users.toml:8:1 case: `reson` is not a key",
                "users.toml:5:1 case.route: it is not there",
                "users.toml:6:7 case.key: found the integer 7",
            ]
        );
    }

    #[test]
    fn what_is_no_toml_or_has_no_cases_is_a_mistake() {
        for text in ["[[case", "", "case = 1", "[case]\nroute = \"a\""] {
            assert!(parse(text.to_owned(), "users.toml".to_owned(), None).is_err(), "{text}");
        }
    }
}
