//! Conditions: what they mean, and what is said of their mistakes.

use super::*;
use crate::domain::Arm;
use crate::domain::condition::{Fact, MAX_DEPTH};
use crate::domain::context::Contexts;
use crate::domain::decision::{Health, Reason, decide};

const CONTEXTS: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-user-tier" }
age = { header = "x-age", type = "number" }
beta = { cookie = "beta", type = "boolean" }
tags = { header = "x-tags", type = "list" }
since = { header = "x-since", type = "timestamp" }
app = { header = "x-app", type = "semver" }
[contexts.session]
region = { query = "region" }
"#;

fn file(segments: &str, keys: &str) -> String {
    format!("{CONTEXTS}[segments]\n{segments}\n{BACKENDS}{ROUTE}rollout.percent = 100\n{keys}\n")
}

/// The reason for a user with these attributes where everybody who is left gets the candidate.
fn reason(loaded: &Loaded, attributes: &[(&str, &str)]) -> Reason {
    let config = &loaded.config;
    let mut facts = vec![None; config.attributes.len()];
    for (name, text) in attributes {
        let slot = config.attributes.iter().position(|attribute| *attribute.name == **name).expect(name);
        facts[slot] = Fact::read(config.attributes[slot].kind, (*text).into());
    }
    let contexts = Contexts { key: Some("u"), facts: &facts, ..Contexts::default() };
    decide(&config.routes[0].policy, &contexts, &Health::WELL).assigned_by
}

#[test]
fn conditions_mean_what_they_say() {
    let segments = r#"
adult = { user.age = { gte = 18, lt = 120 } }
paying = { any = [{ user.tier = ["starter", "premium"] }, { segment = "adult", "user.tier" = "family" }] }
"#;
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let rows: [Row<'_>; 18] = [
        ("{ user.tier = \"premium\" }", &[("user.tier", "premium")], true),
        ("{ user.tier = \"premium\" }", &[("user.tier", "Premium")], false),
        ("{ \"user.tier\" = \"premium\" }", &[("user.tier", "premium")], true),
        ("{ user.tier = [\"a\", \"b\"] }", &[("user.tier", "b")], true),
        ("{ user.tier = \"a\", session.region = \"b\" }", &[("user.tier", "a")], false),
        ("{ user.tier = \"a\", session.region = \"b\" }", &[("user.tier", "a"), ("session.region", "b")], true),
        ("{ not = { user.tier = \"a\" } }", &[("user.tier", "b")], true),
        ("{ not = { user.tier = \"a\" } }", &[], false),
        ("{ user.tier.exists = false }", &[], true),
        ("{ user.age = { gt = 5, lte = 7 } }", &[("user.age", "7")], true),
        ("{ user.age = { gt = 5, lte = 7 } }", &[("user.age", "many")], false),
        ("{ user.beta = true }", &[("user.beta", "true")], true),
        ("{ user.tags.contains = \"x\" }", &[("user.tags", "y, x")], true),
        ("{ user.since.before = 2026-01-01T00:00:00Z }", &[("user.since", "2025-06-01T00:00:00Z")], true),
        ("{ user.app.semver_gt = \"2.9.0\" }", &[("user.app", "2.10.0")], true),
        ("{ segment = \"paying\" }", &[("user.tier", "family"), ("user.age", "18")], true),
        ("{ segment = \"paying\" }", &[("user.tier", "family"), ("user.age", "17")], false),
        (
            "{ all = [{ segment = \"adult\" }, { user.tier.ne = \"x\" }] }",
            &[("user.tier", "y"), ("user.age", "20")],
            true,
        ),
    ];
    for (condition, attributes, holds) in rows {
        let loaded = good(&file(segments, &format!("eligible = {condition}")), &[]);
        let expected = if holds { Reason::Rollout } else { Reason::Condition };
        assert_eq!(reason(&loaded, attributes), expected, "{condition} {attributes:?}");
    }
}

#[test]
fn only_what_a_route_asks_for_is_listed_for_it() {
    let loaded = good(
        &file("s = { user.age = 1 }", "eligible = { any = [{ segment = \"s\" }, { session.region = \"x\" }] }"),
        &[],
    );
    let names: Vec<&str> = loaded.config.routes[0]
        .policy
        .targeting
        .slots
        .iter()
        .map(|slot| &*loaded.config.attributes[*slot].name)
        .collect();
    assert_eq!(names, ["session.region", "user.age"]);
}

#[test]
fn only_routes_that_look_into_the_body_read_it() {
    const KINDS: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[contexts.body]
query = { json = "/query" }
[contexts.session]
key = [{ cookie = "sid" }, { json = "/session" }]
[segments]
long = { body.query = { min_length = 100 } }
[routes.r]
"#;
    let rows = [
        ("", false),
        ("eligible = { user.tier = \"a\" }", false),
        ("eligible = { session.region.exists = true }", false),
        ("eligible = { body.query = \"a\" }", true),
        ("rules = [{ name = \"x\", if = { not = { segment = \"long\" } }, percent = 5 }]", true),
        ("eligible = { session.key.exists = true }", true),
        ("split_by = \"session\"", true),
    ];
    for (keys, expected) in rows {
        let kinds = KINDS.replace("[segments]", "region = { header = \"x-region\" }\n[segments]");
        let route = ROUTE.trim_start_matches("[routes.r]\n");
        let loaded = good(&format!("{BACKENDS}{kinds}{route}{keys}\n"), &[]);
        assert_eq!(loaded.config.routes[0].reads_body, expected, "{keys}");
    }
}

#[test]
fn rules_come_in_their_order() {
    let rules = r#"rules = [
  { name = "old", if = { user.age = { gt = 60 } }, serve = "control" },
  { name = "some", if = { user.tier = "a" }, percent = 100 },
]"#;
    let loaded = good(&file("", rules), &[]);
    let policy = &loaded.config.routes[0].policy;
    assert_eq!(policy.targeting.rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(), ["old", "some"]);
    assert_eq!(policy.forced, None::<Arm>);
    assert_eq!(reason(&loaded, &[("user.tier", "a")]), Reason::Rule);
    assert_eq!(reason(&loaded, &[("user.tier", "b")]), Reason::Rollout);
}

#[test]
fn mistakes() {
    let rows = [
        ("no table", "", "eligible = \"premium\""),
        ("no clause", "", "eligible = {}"),
        ("kind", "", "eligible = { usr.tier = \"a\" }"),
        ("kind, dotted", "", "eligible = { \"users.tier\" = \"a\" }"),
        ("attribute", "", "eligible = { user.teir = \"a\" }"),
        ("attribute that is missing", "", "eligible = { user = \"a\" }"),
        ("operator", "", "eligible = { user.tier = { starts_with = \"a\" } }"),
        ("no operator", "", "eligible = { user.tier = {} }"),
        ("operator and type", "", "eligible = { user.tier = { gt = 5 } }"),
        ("number as text", "", "eligible = { user.age = \"5\" }"),
        ("text as number", "", "eligible = { user.tier = [\"a\", 5] }"),
        ("boolean as text", "", "eligible = { user.beta = \"true\" }"),
        ("moment", "", "eligible = { user.since = { after = \"yesterday\" } }"),
        ("version", "", "eligible = { user.app = { semver_lt = \"2.9\" } }"),
        ("range", "", "eligible = { user.tier = { cidr = [\"10.0.0.0/8\", \"10.0.0.0/99\"] } }"),
        ("expression", "", "eligible = { user.tier = { regex = \"a(b\" } }"),
        ("large expression", "", "eligible = { user.tier = { regex = \"(\\\\w{500}){500}\" } }"),
        ("any of nothing", "", "eligible = { any = [] }"),
        ("any of something else", "", "eligible = { any = { user.tier = \"a\" }, all = [1] }"),
        ("not of nothing", "", "eligible = { not = {} }"),
        ("segment", "enterprise = { user.tier = \"a\" }", "eligible = { segment = \"entreprise\" }"),
        ("segment as a list", "", "eligible = { segment = [\"a\"] }"),
        (
            "cycle",
            "a = { segment = \"b\" }\nb = { not = { segment = \"c\" } }\nc = { any = [{ segment = \"a\" }] }",
            "",
        ),
        ("a segment of itself", "a = { not = { segment = \"a\" } }", "eligible = { segment = \"a\" }"),
        ("name of a segment", "A = { user.tier = \"a\" }", ""),
        (
            "arm and percentage",
            "",
            "rules = [{ name = \"x\", if = { user.tier = \"a\" }, serve = \"control\", percent = 5 }]",
        ),
        ("neither", "", "rules = [{ name = \"x\", if = { user.tier = \"a\" } }]"),
        (
            "two rules of one name",
            "",
            "rules = [{ name = \"x\", if = { user.tier = \"a\" }, percent = 5 }, { name = \"x\", if = { user.tier = \"b\" }, percent = 6 }]",
        ),
        ("percentage", "", "rules = [{ name = \"\", if = { user.tier = \"a\" }, percent = 500 }]"),
        ("a kind without a key", "", "split_by = \"session\""),
    ];
    let message =
        |(name, segments, keys): &(&str, &str, &str)| format!("# {name}\n\n{}", bad(&file(segments, keys), &[]));
    insta::assert_snapshot!(rows.iter().map(message).collect::<String>());
}

#[test]
fn mistakes_of_attributes() {
    let rows = [
        ("no place", "tier = {}"),
        ("two places", "tier = { header = \"x-a\", cookie = \"b\" }"),
        ("a place that is not there", "tier = { method = false }"),
        ("unknown key", "tier = { heder = \"x-a\" }"),
        ("type", "tier = { header = \"x-a\", type = \"int\" }"),
        ("constant of another type", "tier = { const = 5 }"),
        ("constant that is none", "tier = { const = { a = 1 } }"),
        ("cookie", "tier = { cookie = \"a b\" }"),
        ("segment of the path", "tier = { path_segment = 0 }"),
        ("name", "Tier = { method = true }"),
        ("text", "tier = \"x-a\""),
        ("pointer", "tier = { json = \"tier\" }"),
        ("pointer with a wild tilde", "tier = { json = \"/user/~tier\" }"),
        ("token", "tier = { jwt = \"/tier\" }"),
    ];
    let message = |(name, lines): &(&str, &str)| {
        format!(
            "# {name}\n\n{}",
            bad(&format!("[contexts.user]\nkey = [{{ header = \"x\" }}]\n{lines}\n{BACKENDS}{ROUTE}"), &[])
        )
    };
    let reserved =
        bad(&format!("[contexts.any]\nkey = [{{ header = \"x\" }}]\n{BACKENDS}{ROUTE}split_by = \"any\"\n"), &[]);
    insta::assert_snapshot!(rows.iter().map(message).chain([format!("# kind\n\n{reserved}")]).collect::<String>());
}

#[test]
fn depth_has_a_bound_and_segments_cannot_explode() {
    let nested =
        format!("eligible = {}{{ user.tier = \"a\" }}{}", "{ not = ".repeat(MAX_DEPTH), " }".repeat(MAX_DEPTH));
    assert!(bad(&file("", &nested), &[]).contains("nested too deeply"));
    let twice = |n: usize| format!("s{n} = {{ any = [{{ segment = \"s{0}\" }}, {{ segment = \"s{0}\" }}] }}\n", n - 1);
    let doubling: String = (1..=20).map(twice).collect();
    let found = bad(&file(&format!("s0 = {{ user.tier = \"a\" }}\n{doubling}"), ""), &[]);
    assert!(found.contains("a condition that is too large"), "{found}");
    let chain: String = (0..200).map(|n| format!("s{n} = {{ segment = \"s{}\" }}\n", n + 1)).collect();
    assert!(bad(&file(&format!("{chain}s200 = {{ user.tier = \"a\" }}"), ""), &[]).contains("too"));
}

#[test]
fn an_attribute_can_be_changed_from_the_environment() {
    let text = file("", "eligible = { user.tier = \"a\" }");
    let loaded = good(&text, &[("POINTSMAN__CONTEXTS__USER__TIER__HEADER", "x-other")]);
    let tier = loaded.config.attributes.iter().find(|attribute| &*attribute.name == "user.tier").unwrap();
    assert!(format!("{tier:?}").contains("x-other"));
    assert!(bad(&text, &[("POINTSMAN__CONTEXTS__USER__TEIR__HEADER", "x")]).contains("unknown key"));
}
