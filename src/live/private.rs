//! Request fields that tell who asks, or hold a tester's secret: no backend gets them unless the file says so.
//!
//! The names are gathered once for a configuration and hold on every route, whichever of them it looks at itself. Fields
//! that are read as attributes only are ordinary ones and not among them. Nothing here looks at a request.

use http::{HeaderName, header};

use crate::config::Config;
use crate::config::model::Source;

/// The names, arranged so that a field that is none of them is known by its length nearly always.
#[derive(Debug, Default)]
pub struct PrivateFields {
    identity: Vec<HeaderName>,
    overrides: Vec<HeaderName>,
    /// Bit n: a name has n bytes, modulo 64.
    lengths: u64,
}

impl PrivateFields {
    /// Gathers the names of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut fields = Self::default();
        let keys = config.contexts.iter().flat_map(|kind| &kind.key).filter_map(|source| match source {
            Source::Header(name) => Some(name),
            Source::Cookie(_) | Source::Query(_) | Source::Claim(_) | Source::Body(_) => None,
        });
        // `authorization` has a word of its own in `pass`.
        let token =
            config.jwt.as_ref().and_then(|jwt| jwt.header.as_ref()).filter(|name| *name != header::AUTHORIZATION);
        for name in keys.chain(token) {
            if !fields.identity.contains(name) {
                fields.identity.push(name.clone());
            }
        }
        for rule in config.routes.iter().filter_map(|route| route.override_header.as_ref()) {
            if !fields.overrides.contains(&rule.header) {
                fields.overrides.push(rule.header.clone());
            }
        }
        fields.lengths = fields.names().fold(0, |lengths, name| lengths | length_bit(name.as_str()));
        fields
    }

    /// Where keys of all kinds come from, and the token: for backends whose `pass` names `identity`.
    #[must_use]
    pub fn identity(&self) -> &[HeaderName] {
        &self.identity
    }

    /// The overrides of all routes: for no backend, since one who knows the key chooses an arm.
    #[must_use]
    pub fn overrides(&self) -> &[HeaderName] {
        &self.overrides
    }

    /// Whether a field is one of them, by its name in lower case.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.lengths & length_bit(name) != 0 && self.names().any(|known| known.as_str() == name)
    }

    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.identity.iter().chain(&self.overrides)
    }
}

const fn length_bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_of_all_kinds_the_token_and_all_overrides_are_private_and_attributes_are_not() {
        let text = "[contexts.user]\nkey = [{ header = \"X-User-Id\" }, { cookie = \"uid\" }]\n\
            tier = { header = \"x-user-tier\" }\n[contexts.session]\nkey = [{ header = \"x-session-id\" }]\n\
            [jwt]\nheader = \"x-token\"\nalgorithms = [\"RS256\"]\njwks.url = \"http://keys\"\n\
            [backends.a]\nurl = \"http://a\"\n\
            [routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n\
            [routes.s]\npath = \"/s\"\ncontrol = \"a\"\ncandidate = \"a\"\noverride = { key = \"0123456789\" }\n\
            [routes.t]\noverride = { key = \"0123456789\", header = \"x-test\" }\n";
        let loaded = crate::config::load_text(text, "gateway.toml", &BTreeMap::new());
        let fields = PrivateFields::new(&loaded.unwrap_or_else(|report| panic!("{report}")).config);
        let names = |list: &[HeaderName]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(fields.overrides()), ["x-pointsman-override", "x-test"]);
        let mut identity = names(fields.identity());
        identity.sort();
        assert_eq!(identity, ["x-session-id", "x-token", "x-user-id"]);
        for name in ["x-user-id", "x-session-id", "x-token", "x-pointsman-override", "x-test"] {
            assert!(fields.contains(name), "{name}");
        }
        for name in ["x-user-tier", "x-other", "uid", "authorization", "cookie", ""] {
            assert!(!fields.contains(name), "{name}");
        }
        assert!(!PrivateFields::default().contains(""));
    }
}
