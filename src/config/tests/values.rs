//! What typed values become.

use std::time::Duration;

use super::super::node::{Node, Origin, Value};
use super::super::parse;
use super::*;
use crate::config::model::Purpose;
use crate::domain::Arm;

fn text(text: &str) -> Node {
    Node::new(Value::Text(text.to_owned()), Origin::Default)
}

#[test]
fn lengths_of_time() {
    let rows = [
        ("250ms", Some(250)),
        ("30s", Some(30_000)),
        ("5m", Some(300_000)),
        ("1h30m", Some(5_400_000)),
        ("1h 30m", Some(5_400_000)),
        ("1.5s", Some(1_500)),
        ("0s", Some(0)),
        ("30", None),
        ("-30s", None),
        ("", None),
        ("1 fortnight", None),
        ("99999999999999999999h", None),
        ("2d", None),
        ("1d", Some(86_400_000)),
        ("0d12h", Some(43_200_000)),
        ("d", None),
        ("-1d", None),
        ("1.5d", None),
        ("1d1d", None),
        ("9999999999999d", None),
    ];
    for (typed, expected) in rows {
        let found = parse::duration(&text(typed), Duration::ZERO, Duration::from_secs(86_400)).ok();
        assert_eq!(found, expected.map(Duration::from_millis), "{typed}");
    }
}

#[test]
fn lengths_of_time_are_shown_as_they_are_typed() {
    for shown in ["0s", "1ms", "1500ms", "30s", "5m", "24h", "7d", "25h"] {
        let length = parse::duration(&text(shown), Duration::ZERO, Duration::MAX).unwrap();
        assert_eq!(parse::show_duration(length), shown);
    }
}

#[test]
fn sizes() {
    let rows = [
        ("1B", Some(1)),
        ("64KiB", Some(65_536)),
        ("64 KiB", Some(65_536)),
        ("1MiB", Some(1 << 20)),
        ("10MB", Some(10_000_000)),
        ("2GiB", Some(2 << 30)),
        ("64", None),
        ("+1KiB", None),
        ("1.5MiB", None),
        ("KiB", None),
        ("-1B", None),
        ("99999999999999999999GiB", None),
        ("18446744073709551615KiB", None),
        ("1kib", None),
    ];
    for (typed, expected) in rows {
        assert_eq!(parse::size(&text(typed), 0, u64::MAX).ok(), expected, "{typed}");
    }
    assert_eq!(parse::size(&Node::new(Value::Integer(7), Origin::Default), 0, 10), Ok(7));
    for shown in ["0", "7", "64KiB", "3MiB", "1GiB"] {
        let node =
            shown.parse().map_or_else(|_| text(shown), |number| Node::new(Value::Integer(number), Origin::Default));
        assert_eq!(parse::show_size(parse::size(&node, 0, u64::MAX).unwrap()), shown);
    }
}

#[test]
fn urls() {
    type Parts = (bool, &'static str, u16, &'static str, &'static str);
    let rows: [(&str, Option<Parts>); 18] = [
        ("http://a", Some((false, "a", 80, "a", ""))),
        ("https://a/", Some((true, "a", 443, "a", ""))),
        ("http://a:8080/v1/", Some((false, "a", 8080, "a:8080", "/v1"))),
        ("https://API.example.com/x", Some((true, "api.example.com", 443, "API.example.com", "/x"))),
        ("http://[::1]:81", Some((false, "::1", 81, "[::1]:81", ""))),
        ("http://127.0.0.1", Some((false, "127.0.0.1", 80, "127.0.0.1", ""))),
        ("http://", None),
        ("http:///x", None),
        ("http://a:", None),
        ("http://a:0", None),
        ("http://a:x", None),
        ("http://a b", None),
        ("http://a/ b", None),
        ("http://a//b", None),
        ("http://a/%2e", Some((false, "a", 80, "a", "/%2e"))),
        ("http://[::1", None),
        ("HTTP://a", None),
        ("unix:/run/a", None),
    ];
    for (typed, expected) in rows {
        let found = parse::url(&text(typed)).ok().flatten();
        let found = found
            .as_ref()
            .map(|url| (url.tls, url.host.as_str(), url.port, url.authority.to_str().unwrap(), url.base_path.as_str()));
        assert_eq!(found, expected, "{typed}");
    }
    assert_eq!(parse::url(&text("")), Ok(None));
}

#[test]
fn paths() {
    let rows = [
        ("/", Some("/")),
        ("/a", Some("/a")),
        ("/a/", Some("/a")),
        ("/a/b.c", Some("/a/b.c")),
        ("", None),
        ("a", None),
        ("//", None),
        ("/a//b", None),
        ("/a/../b", None),
        ("/./a", None),
        ("/a b", None),
        ("/a?b", None),
        ("/a#b", None),
        ("/ä", None),
    ];
    for (typed, expected) in rows {
        assert_eq!(parse::path(&text(typed)).ok().as_deref(), expected, "{typed}");
    }
}

#[test]
fn hosts() {
    let rows = [
        ("a", Some("a")),
        ("API.Example.com", Some("api.example.com")),
        ("10.0.0.1", Some("10.0.0.1")),
        ("[::1]", Some("[::1]")),
        ("::1", None),
        ("a:80", None),
        ("*.a", None),
        ("a..b", None),
        (".", None),
        ("", None),
        ("http://a", None),
    ];
    for (typed, expected) in rows {
        assert_eq!(parse::host(&text(typed)).ok().as_deref(), expected, "{typed}");
    }
}

#[test]
fn the_example_becomes_what_it_says() {
    let config = good(EXAMPLE, &[("PPLX_KEY", "k"), ("POINTSMAN__BACKENDS__LIGHTRAG__URL", "")]).config;
    let route = &config.routes[0];
    assert_eq!((&*route.name, &*route.policy.salt), ("answers", "answers"));
    assert!(!route.policy.enabled, "an empty URL turns the candidate off");
    let (control, candidate) = (route.backend(Arm::Control).unwrap(), route.backend(Arm::Candidate).unwrap());
    assert_eq!(&*config.backends[control].name, "perplexity");
    assert_eq!(config.backends[control].headers[0].1.to_str().unwrap(), "Bearer k");
    assert!(config.backends[candidate].breaker_for_control);
    assert!(!config.backends[control].breaker_for_control);
    assert_eq!(config.contexts[route.policy.split_by].key.len(), 2);
    assert_eq!(route.policy.targeting.rules.len(), 2);
}

#[test]
fn a_longer_open_time_lifts_the_default_of_the_longest() {
    let text = format!(
        "[backends.a]\nurl = \"http://a\"\nbreaker.open_for = \"10m\"\n[backends.b]\nurl = \"http://b\"\n{ROUTE}"
    );
    let breaker = &good(&text, &[]).config.backends[0].breaker;
    assert_eq!(breaker.open_for_max, Duration::from_secs(600));
}

#[test]
fn a_ratio_is_a_percentage_of_a_hundred() {
    let text = format!(
        "[backends.a]\nurl = \"http://a\"\nbreaker.failure_ratio = 0.5\n[backends.b]\nurl = \"http://b\"\n{ROUTE}"
    );
    let ratio = good(&text, &[]).config.backends[0].breaker.ratio.unwrap();
    assert!((ratio.failure_ratio.get() - 50.0).abs() < f64::EPSILON);
    assert_eq!((ratio.min_requests, ratio.window), (20, Duration::from_secs(30)));
}

#[test]
fn a_route_without_a_path_is_a_flag_with_as_many_backends_as_it_names() {
    let rows = [
        ("", (None, None)),
        ("control = \"a\"\n", (Some(0), None)),
        ("candidate = \"b\"\n", (None, Some(1))),
        ("control = \"a\"\ncandidate = \"b\"\n", (Some(0), Some(1))),
    ];
    for (lines, (control, candidate)) in rows {
        let config = good(&format!("{BACKENDS}{ROUTE}[routes.a-flag]\n{lines}rollout.percent = 5\n"), &[]).config;
        assert_eq!(config.routes[0].purpose, Purpose::Flag { control, candidate }, "{lines}");
        assert_eq!(config.routes[0].backend(Arm::Candidate), candidate);
        assert!(config.routes[0].matches().is_none() && config.routes[1].matches().is_some());
    }
}

#[test]
fn flags_need_no_backend_at_all() {
    let loaded = good("[routes.a]\n[routes.b]\nrollout.percent = 5\n", &[]);
    assert_eq!((loaded.config.routes.len(), loaded.config.backends.len()), (2, 0));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_flag_is_off_while_the_url_of_its_candidate_is_empty() {
    let config = good("[backends.b]\nurl = \"\"\n[routes.a]\ncontrol = \"b\"\ncandidate = \"b\"\n", &[]).config;
    assert!(!config.routes[0].policy.enabled);
}

#[test]
fn any_value_becomes_json() {
    use serde_json::json;

    let parsed = |text: &str| {
        let source = node::Source { name: String::new(), kind: node::SourceKind::File, text: text.to_owned() };
        parse::json(&node::parse_value(&std::sync::Arc::new(source)).unwrap()).ok()
    };
    let rows = [
        (r#""text""#, Some(json!("text"))),
        ("7", Some(json!(7))),
        ("0.5", Some(json!(0.5))),
        ("true", Some(json!(true))),
        ("[1, \"a\", [false]]", Some(json!([1, "a", [false]]))),
        ("{ b = { c = 1 }, a = [] }", Some(json!({"a": [], "b": {"c": 1}}))),
        ("nan", None),
        ("[inf]", None),
        ("2026-11-21", Some(json!("2026-11-21"))),
        ("2026-11-21 08:00:00Z", Some(json!("2026-11-21T08:00:00Z"))),
        ("{ at = [08:00:00] }", Some(json!({"at": ["08:00:00"]}))),
        ("{ a = 99999999999999999999 }", None),
    ];
    for (typed, expected) in rows {
        assert_eq!(parsed(typed), expected, "{typed}");
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parsed(&deep(32)).is_some());
    assert_eq!(parsed(&deep(33)), None);
}

#[test]
fn flags_hand_out_what_the_file_says_and_booleans_otherwise() {
    use serde_json::json;

    let rows = [
        ("", json!(false), json!(true)),
        ("values = { control = \"a\", candidate = \"b\" }", json!("a"), json!("b")),
        ("values = { control = 1, candidate = 2.5 }", json!(1), json!(2.5)),
        (
            "values = { control = { since = 2026-11-21, of = [] }, candidate = { of = [1, { deep = true }] } }",
            json!({ "of": [], "since": "2026-11-21" }),
            json!({ "of": [1, { "deep": true }] }),
        ),
    ];
    for (line, control, candidate) in rows {
        let loaded = good(&format!("[routes.a]\n{line}\n"), &[]);
        let values = &loaded.config.routes[0].values;
        assert_eq!((values.of(Arm::Control), values.of(Arm::Candidate)), (&control, &candidate), "{line}");
        assert_eq!(loaded.warnings, [], "{line}");
    }
}

#[test]
fn origins_are_kept_as_browsers_write_them() {
    let text = "[ofrep]\ncors = [\"HTTPS://App.Example.com:443\", \"http://localhost:5173\"]\n[routes.a]\n";
    assert_eq!(good(text, &[]).config.ofrep.cors, ["https://app.example.com", "http://localhost:5173"]);
}
