//! What a phase of a route rests on, as hashes by name: where one of them changes, evidence starts anew.
//!
//! A phase is a stretch in which nothing changes that affects the split or the arms. The hashes tell
//! *that* something changed, to whom does not see what; they are compared between configurations that
//! the same version has read. Invariant: no secret goes into a hash. A salt does: it cannot be read
//! from its hash, but a guess can be tested, as it can on the buckets that `explain` shows. So nobody
//! below a viewer sees either, and a salt is no password.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{Backend, BackendIndex, Config, Route, Target};
use crate::domain::Arm;
use crate::domain::condition::{Clause, Examined};
use crate::domain::decision::{Policy, Prerequisite, Serve};
use crate::domain::phase::{Fingerprint, Phase};

/// Changes when the same configuration would give other hashes.
const SCHEME: &str = "pointsman phase 1";
/// Bytes of a digest that are shown: enough that two values do not meet by chance.
const SHOWN_BYTES: usize = 8;

/// Hashes by what they are of: 16 hex digits each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "PhaseParts")]
pub struct Parts(BTreeMap<String, String>);

impl Parts {
    /// The names of what differs. A name that only one side knows tells nothing.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let differs = |(name, hash): &(&String, &String)| other.0.get(*name).is_some_and(|other| other != *hash);
        self.0.iter().filter(differs).map(|(name, _)| name.clone()).collect()
    }

    /// What a rollout rests on: users and arms, whatever the share.
    #[must_use]
    pub fn ground(&self) -> BTreeMap<String, String> {
        const GROUND: [&str; 7] = ["salt", "split_key", "holdout", "exclusive", "control", "candidate", "rewriting"];
        self.0.iter().filter(|(name, _)| GROUND.contains(&name.as_str())).map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    /// The phase that they make.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.iter().fold(Fingerprint::default(), |all, (name, hash)| all.with(name, hash)).phase()
    }
}

/// What the phase of a route rests on.
#[must_use]
pub fn parts(config: &Config, route: &Route) -> Parts {
    let policy = &route.policy;
    let holdout = policy.holdout.as_ref().map(|holdout| holdout.share.percent());
    let kind = &config.contexts[policy.split_by];
    let mut parts = BTreeMap::new();
    let mut put = |name: &str, value: &dyn fmt::Debug| {
        parts.insert(name.to_owned(), hash(&[SCHEME, &route.name, name, &format!("{value:?}")]));
    };
    put("salt", &policy.salt);
    put("split_key", &(&kind.name, &kind.key, route.missing_key));
    put("holdout", &holdout);
    if route.rollout.plan.stages().is_none() {
        put("percentage", &policy.rollout.percent());
    }
    // A stretch of a rollout is a phase of its own, also where the share was the same before.
    if !policy.mark.is_empty() {
        put("stretch", &(policy.rollout.percent(), &policy.mark));
    }
    put("targeting", &targeting(policy));
    put("exclusive", &policy.exclusive);
    put("prerequisite", &prerequisites(config, policy));
    put("control", &arm(config, route.backend(Arm::Control)));
    put("candidate", &arm(config, route.backend(Arm::Candidate)));
    let [control, candidate] = &route.rewrites;
    let common = (&route.rewrite_prefix, &route.request_headers, &route.response_headers);
    put("rewriting", &(common, control, candidate));
    Parts(parts)
}

fn hash(texts: &[&str]) -> String {
    let texts = texts.iter().fold(Fingerprint::default(), |all, text| all.with("", text));
    texts.finish().iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Other routes that come first, with their phases: whom they assign an arm is in the split here.
fn prerequisites(config: &Config, policy: &Policy) -> impl fmt::Debug {
    let phase_of = |prerequisite: &Prerequisite| {
        let other = config.routes.iter().find(|other| other.name == prerequisite.route);
        (Arc::clone(&prerequisite.route), prerequisite.arm, other.map(|other| parts(config, other).phase()))
    };
    policy.prerequisites.iter().map(phase_of).collect::<Vec<_>>()
}

/// Conditions: who is drawn by a hash, and by which percentage. Switches and lists are not among them:
/// whom they take is not drawn, and the others are drawn as before.
fn targeting(policy: &Policy) -> impl fmt::Debug {
    let eligible = policy.targeting.eligible.as_ref().map(clauses);
    let rules: Vec<_> = policy
        .targeting
        .rules
        .iter()
        .map(|rule| match rule.serve {
            Serve::Arm(arm) => (clauses(&rule.condition), arm.to_string()),
            Serve::Percent(share) => (clauses(&rule.condition), share.percent().to_string()),
        })
        .collect();
    format!("{:?}", (eligible, rules))
}

/// A condition by the names of its attributes, which stay when other attributes come and go.
fn clauses(condition: &Clause) -> Vec<impl fmt::Debug + use<>> {
    let named = |clause: Examined| (clause.depth, clause.operator, clause.attribute, clause.operand);
    condition.explain(&[]).into_iter().map(named).collect()
}

/// Where an arm is, and what its backend sees. The values of `headers` are secrets: only their names count.
fn arm(config: &Config, index: Option<BackendIndex>) -> impl fmt::Debug {
    let Some(index) = index else { return "none".to_owned() };
    let Backend { name, target, version, host, headers, .. } = &config.backends[index];
    let target = match target {
        Target::Endpoints(endpoints) => format!("{endpoints:?}"),
        Target::Respond(answer) => format!("{answer:?}"),
        Target::Off => "off".to_owned(),
    };
    let headers: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    format!("{:?}", (name, target, version, host, headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[contexts.session]
key = [{ cookie = "sid" }]
[backends.old]
url = "http://old"
[backends.new]
url = "http://new"
version = "1"
headers = { authorization = "secret-1" }
[routes.r]
path = "/r"
control = "old"
candidate = "new"
salt = "one"
holdout = 5.0
eligible = { user.tier = ["a", "b"] }
rollout = { percent = 25.0 }
fallback = { replay = "connect" }
[routes.s]
rollout = { percent = 50.0 }
"#;

    fn of(text: &str) -> Parts {
        let config =
            load_text(text, "gateway.toml", &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}")).config;
        parts(&config, &config.routes[0])
    }

    #[test]
    fn each_change_is_told_by_its_part() {
        let rows: [(&str, &str, &[&str]); 22] = [
            ("salt = \"one\"", "salt = \"two\"", &["salt"]),
            ("control = \"old\"", "control = \"old\"\nsplit_by = \"session\"", &["split_key"]),
            ("[{ header = \"x-user-id\" }]", "[{ header = \"x-user\" }]", &["split_key"]),
            ("control = \"old\"", "control = \"old\"\nmissing_key = \"cookie\"", &["split_key"]),
            ("holdout = 5.0", "holdout = 6.0", &["holdout"]),
            ("percent = 25.0", "percent = 26.0", &["percentage"]),
            ("[\"a\", \"b\"]", "[\"a\"]", &["targeting"]),
            ("control = \"old\"", "control = \"old\"\nenabled = false", &[]),
            ("control = \"old\"", "control = \"old\"\ntargets.control = [\"u\"]", &[]),
            ("control = \"old\"", "control = \"old\"\nexclusive = { group = \"g\", slots = [0, 50] }", &["exclusive"]),
            (
                "control = \"old\"",
                "control = \"old\"\nprerequisite = { route = \"s\", arm = \"candidate\" }",
                &["prerequisite"],
            ),
            ("percent = 50.0", "percent = 60.0", &[]),
            ("http://old", "http://old:81", &["control"]),
            ("http://new", "http://new/v1", &["candidate"]),
            ("version = \"1\"", "version = \"2\"", &["candidate"]),
            ("control = \"old\"", "control = \"old\"\nrewrite.prefix = \"/s\"", &["rewriting"]),
            ("control = \"old\"", "control = \"old\"\nrequest_headers.set.x-a = \"1\"", &["rewriting"]),
            // Nothing of these affects split or arms.
            ("secret-1", "secret-2", &[]),
            ("percent = 25.0", "percent = 25", &[]),
            ("path = \"/r\"", "path = \"/s\"", &[]),
            ("tier = {", "age = { header = \"x-age\" }\ntier = {", &[]),
            ("control = \"old\"", "control = \"old\"\nexpose = \"never\"\ndeadline = \"5s\"", &[]),
        ];
        for (old, new, parts) in rows {
            assert!(FILE.contains(old), "{old}");
            let after = of(&FILE.replacen(old, new, 1));
            assert_eq!(of(FILE).changed(&after), parts, "{old} -> {new}");
            assert_eq!(of(FILE).phase() == after.phase(), parts.is_empty(), "{old} -> {new}");
        }
    }

    #[test]
    fn a_phase_ends_with_that_of_a_prerequisite() {
        let asking = FILE.replacen(
            "control = \"old\"",
            "control = \"old\"\nprerequisite = { route = \"s\", arm = \"candidate\" }",
            1,
        );
        let changed = asking.replace("percent = 50.0", "percent = 60.0");
        assert_eq!(of(&asking).changed(&of(&changed)), ["prerequisite"]);
    }

    #[test]
    fn a_hash_is_of_one_route_and_one_part() {
        let both = format!("{FILE}\nsalt = \"one\"");
        let config = load_text(&both, "gateway.toml", &BTreeMap::new()).unwrap().config;
        let [one, other] = [&config.routes[0], &config.routes[1]].map(|route| parts(&config, route).0);
        assert_ne!(one["salt"], other["salt"], "equal salts of two routes cannot be told");
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert!(one.values().all(|hash| hash.len() == 16));
    }
}
