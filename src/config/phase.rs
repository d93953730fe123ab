//! What makes the phase of a route, read from a checked configuration.
//!
//! Who is in the split and how it is drawn, and what each arm is. What does not change either, such as
//! timeouts, breakers and who is told, does not begin a phase.

use super::model::{Backend, Config, Route, Target};
use crate::domain::Arm;
use crate::domain::phase::{Fingerprint, Phase};

/// The parts of a phase, each by its hash, so that one can tell what began a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Kind, salt, percentages, conditions.
    pub split: [u8; 32],
    /// Control's backend and what it is sent.
    pub control: [u8; 32],
    /// The candidate's backend and what it is sent.
    pub candidate: [u8; 32],
}

impl Parts {
    /// The phase that the parts make.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let Self { split, control, candidate } = self;
        Fingerprint::default().with("split", split).with("control", control).with("candidate", candidate).phase()
    }
}

/// The parts of the phase that a route is in.
#[must_use]
pub fn parts(config: &Config, route: &Route) -> Parts {
    Parts {
        split: split(config, route),
        control: arm(config, route, Arm::Control),
        candidate: arm(config, route, Arm::Candidate),
    }
}

fn split(config: &Config, route: &Route) -> [u8; 32] {
    let policy = &route.policy;
    let kind = &config.contexts[policy.split_by];
    let holdout = policy.holdout.as_ref().map(|holdout| (holdout.share.percent().get(), &holdout.salt));
    let mut parts = Fingerprint::default()
        .with("kind", &kind.name)
        .with("key", format!("{:?}", kind.key))
        .with("salt", &*policy.salt)
        .with("percent", policy.rollout.percent().get().to_bits().to_be_bytes())
        .with("holdout", format!("{holdout:?}"))
        .with("targeting", format!("{:?}", policy.targeting))
        .with("missing_key", format!("{:?}", route.missing_key));
    if let Some(exclusive) = &policy.exclusive {
        parts = parts.with("exclusive", format!("{exclusive:?}"));
    }
    for prerequisite in &policy.prerequisites {
        parts = parts.with("prerequisite", format!("{} {}", prerequisite.route, prerequisite.arm));
        // Whom the other route assigns that arm is in the split here.
        if let Some(other) = config.routes.iter().find(|other| other.name == prerequisite.route) {
            parts = parts.with("assigned", split(config, other));
        }
    }
    parts.finish()
}

fn arm(config: &Config, route: &Route, arm: Arm) -> [u8; 32] {
    let Some(backend) = route.backend(arm).map(|index| &config.backends[index]) else {
        return Fingerprint::default().finish();
    };
    Fingerprint::default()
        .with("backend", &*backend.name)
        .with("version", backend.version.as_deref().unwrap_or_default())
        .with("target", target(backend))
        .with("prefix", route.rewrite_prefix.as_deref().unwrap_or_default())
        .with("request_headers", format!("{:?}", route.request_headers))
        .with("response_headers", format!("{:?}", route.response_headers))
        .finish()
}

fn target(backend: &Backend) -> String {
    match &backend.target {
        Target::Endpoints(endpoints) => {
            let urls = endpoints.iter().map(|at| (at.tls, &at.host, at.port, &at.base_path));
            format!("{:?}", urls.collect::<Vec<_>>())
        }
        Target::Respond(answer) => format!("{:?} {:?}", answer.status, answer.body),
        Target::Off => "off".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_text;

    const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[backends.a]
url = "http://a"
[backends.b]
url = "http://b"
version = "1"
[routes.r]
path = "/"
control = "a"
candidate = "b"
salt = "s"
holdout = 5.0
deadline = "5s"
eligible = { user.tier = "gold" }
rollout = { percent = 25.0 }
[routes.s]
rollout = { percent = 50.0 }
"#;

    fn parts_of(text: &str) -> Parts {
        let config = load_text(text, "gateway.toml", &BTreeMap::new()).unwrap().config;
        parts(&config, &config.routes[0])
    }

    #[test]
    fn a_change_of_split_or_arms_begins_a_phase_and_nothing_else_does() {
        let before = parts_of(FILE);
        let rows = [
            (r#"salt = "s""#, r#"salt = "t""#, (true, false, false)),
            ("percent = 25.0", "percent = 25.5", (true, false, false)),
            ("holdout = 5.0", "holdout = 6.0", (true, false, false)),
            (r#"tier = "gold""#, r#"tier = "silver""#, (true, false, false)),
            (r#"x-user-id"#, r#"x-uid"#, (true, false, false)),
            (r#"version = "1""#, r#"version = "2""#, (false, false, true)),
            ("http://a", "http://c", (false, true, false)),
            (r#"deadline = "5s""#, r#"deadline = "6s""#, (false, false, false)),
            (r#"deadline = "5s""#, r#"targets = { candidate = ["me"] }"#, (false, false, false)),
            (r#"deadline = "5s""#, r#"exclusive = { group = "g", slots = [0, 50] }"#, (true, false, false)),
            (r#"deadline = "5s""#, r#"prerequisite = { route = "s", arm = "candidate" }"#, (true, false, false)),
            ("percent = 50.0", "percent = 60.0", (false, false, false)),
            (r#"deadline = "5s""#, r#"rewrite = { prefix = "/v2" }"#, (false, true, true)),
        ];
        for (from, to, changed) in rows {
            let after = parts_of(&FILE.replace(from, to));
            let found =
                (after.split != before.split, after.control != before.control, after.candidate != before.candidate);
            assert_eq!(found, changed, "{from} -> {to}");
            assert_eq!(after.phase() != before.phase(), changed != (false, false, false), "{from} -> {to}");
        }
    }

    #[test]
    fn a_phase_ends_with_that_of_a_prerequisite() {
        let asking = FILE.replace(r#"deadline = "5s""#, r#"prerequisite = { route = "s", arm = "candidate" }"#);
        let changed = asking.replace("percent = 50.0", "percent = 60.0");
        assert_ne!(parts_of(&asking).split, parts_of(&changed).split);
    }
}
