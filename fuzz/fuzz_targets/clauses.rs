//! Any condition is compiled or refused with messages, and one that was compiled means the same to the
//! decision and to the explanation, whatever is known of who asks.
//!
//! The first line is the condition, the others are the attributes in the order of the file; an empty one is missing.
#![no_main]

use std::alloc::System;
use std::collections::BTreeMap;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use pointsman::config::load_text;
use pointsman::domain::condition::Fact;
use pointsman::domain::context::Contexts;
use pointsman::domain::decision::{Health, Reason, decide};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 256 << 20);

const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "a" }
age = { header = "b", type = "number" }
beta = { header = "c", type = "boolean" }
tags = { header = "d", type = "list" }
since = { header = "e", type = "timestamp" }
app = { header = "f", type = "semver" }
[segments]
adult = { user.age = { gte = 18 } }
[backends.a]
url = "http://127.0.0.1:1"
[routes.r]
control = "a"
candidate = "a"
"#;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let condition = lines.next().unwrap_or_default();
    let values: Vec<Option<&str>> = lines.map(|line| Some(line).filter(|line| !line.is_empty())).collect();
    let loaded = match load_text(&format!("{FILE}eligible = {condition}\n"), "gateway.toml", &BTreeMap::new()) {
        Ok(loaded) => loaded,
        Err(report) => return assert!(!report.to_string().is_empty()),
    };
    let attributes = loaded.config.attributes.iter();
    let values = values.into_iter().chain(std::iter::repeat(None));
    let facts: Vec<Option<Fact<'_>>> =
        attributes.zip(values).map(|(known, value)| value.and_then(|text| Fact::read(known.kind, text.into()))).collect();
    for route in &loaded.config.routes {
        let contexts = Contexts { facts: &facts, ..Contexts::of_key(route.policy.split_by, "u") };
        let decision = decide(&route.policy, &contexts, &Health::WELL);
        let Some(eligible) = &route.policy.targeting.eligible else { continue };
        let truth = eligible.evaluate(&facts);
        assert_eq!(eligible.explain(&facts).first().map(|outermost| outermost.result), Some(truth));
        if decision.assigned_by == Reason::Condition {
            assert!(!truth.holds());
        }
    }
});
