//! A decision allocates nothing, once who asks is known.

#![expect(clippy::unwrap_used, reason = "tests say what broke")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;

use pointsman::config::load_text;
use pointsman::domain::Arm;
use pointsman::domain::condition::Fact;
use pointsman::domain::context::{Contexts, Keys};
use pointsman::domain::decision::{Health, Reason, decide};

/// Everything that a decision can look at: three kinds, 20 rules over 5 segments, hashed targets, a
/// holdout, a group, and a prerequisite that splits by another kind.
fn file() -> String {
    let mut text = String::from(
        "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\ntier = { header = \"a\" }\n\
         age = { header = \"b\", type = \"number\" }\n[contexts.session]\nkey = [{ header = \"s\" }]\n\
         region = { header = \"c\" }\n[contexts.organization]\nindustry = { header = \"d\", type = \"list\" }\n\
         [backends.a]\nurl = \"http://127.0.0.1:1\"\n[segments]\n",
    );
    for n in 0..5 {
        let (tier, industry) = (format!("user.tier = \"t{n}\""), format!("organization.industry.contains = \"i{n}\""));
        writeln!(text, "s{n} = {{ any = [{{ {tier} }}, {{ {industry} }}, {{ user.tier.regex = \"^x{n}\" }}] }}")
            .unwrap();
    }
    text += "[routes.first]\ncontrol = \"a\"\ncandidate = \"a\"\nsplit_by = \"session\"\nrollout.percent = 100\n\
             [routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\nrollout.percent = 25\nholdout = 0.001\n\
             exclusive = { group = \"g\", slots = [0, 100] }\n\
             prerequisite = { route = \"first\", arm = \"candidate\" }\n\
             targets.candidate = [\"sha256:e606e38b0d8c19b24cf0ee3808183162ea7cd63ff7912dbb22b5e803286b4446\"]\n";
    for n in 0..20 {
        let clauses = format!("segment = \"s{}\", user.age = {{ gt = {n} }}, session.region.prefix = \"us_\"", n % 5);
        writeln!(text, "[[routes.r.rules]]\nname = \"r{n}\"\nif = {{ {clauses} }}\npercent = 5").unwrap();
    }
    text
}

#[test]
fn a_decision_allocates_nothing() {
    let loaded = load_text(&file(), "gateway.toml", &BTreeMap::new()).unwrap();
    let config = &loaded.config;
    let route = config.routes.iter().find(|route| &*route.name == "r").unwrap();
    let kind = |name: &str| config.contexts.iter().position(|kind| kind.name == name).unwrap();
    let others = [(kind("session"), Cow::Borrowed("session-7"))];
    let rows = [
        ("premium", "user-107919", Reason::Rollout),
        ("x3-premium", "user-107919", Reason::Rule),
        ("premium", "user123", Reason::Target),
    ];
    for (tier, key, reason) in rows {
        let values =
            [("user.tier", tier), ("user.age", "44"), ("session.region", "us_east"), ("organization.industry", "x")];
        let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let attributes = config.attributes.iter();
        let facts: Vec<Option<Fact<'_>>> =
            attributes.map(|known| value(&known.name).and_then(|text| Fact::read(known.kind, text.into()))).collect();
        let keys = Keys::one(kind("user"), Some(key)).with(&others);
        let contexts = Contexts { keys, facts: &facts, ..Contexts::default() };
        // The first use of a regular expression makes room for its state.
        assert_eq!(decide(&route.policy, &contexts, &Health::WELL).assigned_by, reason, "{tier} {key}");
        let counted = allocation_counter::measure(|| {
            black_box(decide(black_box(&route.policy), black_box(&contexts), &Health::WELL));
        });
        assert_eq!(counted.count_total, 0, "{tier} {key}");
    }
    assert!(allocation_counter::measure(|| drop(black_box(Box::new(Arm::Control)))).count_total > 0, "it counts");
}

/// What a listed key takes, without what the allocator adds: told in BENCHMARKS.md.
#[test]
fn a_listed_key_takes_no_more_than_is_told() {
    use pointsman::domain::targets::{TargetKey, Targets};

    const KEYS: u32 = 100_000;
    let plain = |n: u32| TargetKey::Plain(format!("tester-{n:06}@example.com").into());
    let hashed = |n: u32| {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        TargetKey::Hashed(hash)
    };
    let rows: [(&dyn Fn(u32) -> TargetKey, i64); 2] = [(&plain, 60), (&hashed, 90)];
    for (key, most) in rows {
        let mut kept = Targets::default();
        let counted =
            allocation_counter::measure(|| kept = Targets::list((0..KEYS).map(|n| (Arm::Candidate, key(n)))).0);
        let each = counted.bytes_current / i64::from(KEYS);
        assert!((1..=most).contains(&each), "{each} bytes a key");
        assert_eq!(kept.count(Arm::Candidate), KEYS as usize);
    }
}
