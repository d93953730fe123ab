//! What a route asks of files of keys, of its group, and of other routes.

use super::*;
use crate::domain::Arm;

const FLAGS: &str = "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\n[contexts.session]\n\
                     key = [{ header = \"x-session\" }]\nregion = { header = \"x-region\" }\n";

/// Routes by name, each with its keys.
fn file(routes: &[(&str, &str)]) -> String {
    let route = |(name, keys): &(&str, &str)| format!("[routes.{name}]\ncontrol = \"a\"\ncandidate = \"b\"\n{keys}\n");
    format!("{FLAGS}{BACKENDS}{}", routes.iter().map(route).collect::<String>())
}

fn asks(route: &str) -> String {
    format!("prerequisite = {{ route = {route:?}, arm = \"candidate\" }}")
}

#[test]
fn prerequisites_are_put_in_place_with_what_they_look_at() {
    let both = "prerequisite = [{ route = \"two\", arm = \"candidate\" }, { route = \"three\", arm = \"control\" }]";
    let two = format!("split_by = \"session\"\nmissing_key = \"cookie\"\n{}", asks("three"));
    let three = "eligible = { session.region = \"eu\" }";
    let config = good(&file(&[("one", both), ("two", &two), ("three", three)]), &[]).config;
    let policy = |name: &str| &config.routes.iter().find(|route| &*route.name == name).unwrap().policy;
    let asked: Vec<_> = policy("one").prerequisites.iter().map(|other| (&*other.route, other.arm)).collect();
    assert_eq!(asked, [("two", Arm::Candidate), ("three", Arm::Control)]);
    assert_eq!(policy("one").prerequisites[0].policy.prerequisites.len(), 1, "by way of another");
    assert_eq!(policy("one").needs.slots, policy("three").needs.slots);
    assert_eq!(policy("one").needs.slots.len(), 1);
    let kind = |name: &str| config.contexts.iter().position(|context| context.name == name).unwrap();
    let needed: Vec<_> = policy("one").needs.keys.iter().map(|need| (need.kind, need.anonymous)).collect();
    assert_eq!(needed, [(kind("session"), true)]);
    let needed: Vec<_> = policy("two").needs.keys.iter().map(|need| (need.kind, need.anonymous)).collect();
    assert_eq!(needed, [(kind("user"), false)]);
    assert!(policy("three").needs.keys.is_empty());
}

#[test]
fn mistakes() {
    let slots = |group: &str, slots: &str| format!("exclusive = {{ group = {group:?}, slots = {slots} }}");
    let by_session = format!("split_by = \"session\"\n{}", slots("g", "[50, 100]"));
    let (first, over) = (slots("g", "[0, 50]"), slots("g", "[49.9, 60]"));
    let (next, other) = (slots("g", "[50, 100]"), slots("h", "[0, 100]"));
    good(&file(&[("one", &first), ("two", &next), ("three", &other)]), &[]);
    let (one, two, three) = (asks("one"), asks("two"), asks("three"));
    let cookie = format!("missing_key = \"cookie\"\n{two}");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)]);
    let (misspelt, strange) = (asks("twoo"), "prerequisite = { route = \"two\", arm = \"both\", why = 1 }");
    let (turned, one_end) = (slots("g", "[50, 50]"), slots("", "[50]"));
    let pin = "pin = { by = \"request\", idle = \"1y\", secrets = [\"short\"] }";
    let rows: [Row<'_>; 13] = [
        ("a route that is not there", &[("one", &misspelt), ("two", "")]),
        ("keys of a prerequisite", &[("one", strange), ("two", "")]),
        ("neither a table nor a list", &[("one", "prerequisite = \"two\""), ("two", "")]),
        ("a circle of one", &[("one", &one)]),
        ("a circle of three", &[("one", &two), ("two", &three), ("three", &one)]),
        ("keys that differ", &[("one", &cookie), ("two", "")]),
        ("slots that overlap", &[("one", &first), ("two", &over)]),
        ("another kind", &[("one", &first), ("two", &by_session)]),
        ("no slots", &[("one", &turned), ("two", &one_end)]),
        ("slots beyond the end", &[("one", "exclusive = { group = \"g\", slots = [50, 101] }")]),
        ("a pin", &[("one", pin)]),
        ("a pin without secrets", &[("one", "pin = { by = \"session\", secrets = [] }")]),
        ("targets", &[("one", "targets = { candidate = [\"sha256:12\", \"\"], control_file = \"not-there.txt\" }")]),
    ];
    let message = |(name, routes): &Row<'_>| format!("# {name}\n\n{}", bad(&file(routes), &[]));
    insta::assert_snapshot!(rows.iter().map(message).collect::<String>());
}

#[test]
fn prerequisites_cannot_explode() {
    // Each asks the two before it, so that the number of policies to ask doubles.
    let ask = |n: usize| {
        let of = |n: usize, side: char| format!("{{ route = \"{side}{n}\", arm = \"candidate\" }}");
        format!("prerequisite = [{}, {}]", of(n - 1, 'l'), of(n - 1, 'r'))
    };
    let mut routes = vec![("l0".to_owned(), String::new()), ("r0".to_owned(), String::new())];
    routes.extend((1..12).flat_map(|n| [(format!("l{n}"), ask(n)), (format!("r{n}"), ask(n))]));
    let routes: Vec<(&str, &str)> = routes.iter().map(|(name, keys)| (&**name, &**keys)).collect();
    let found = bad(&file(&routes), &[]);
    assert!(found.contains("126 prerequisites") && found.contains("at most 64"), "{found}");
}

#[test]
fn lines_of_a_file_of_keys() {
    let file = file(&[("one", "targets = { control = [\"carol\"], candidate_file = \"keys.txt\" }")]);
    let folder = Folder::new(&[("gateway.toml", &file), ("keys.txt", "\u{feff}alice\r\n\n # comment\n bob \n")]);
    let targets = folder.load(None).unwrap().config.routes[0].policy.targets.clone();
    assert_eq!((targets.count(Arm::Control), targets.count(Arm::Candidate)), (1, 2));
    assert_eq!(targets.arm_of("alice"), Some(Arm::Candidate));
    assert_eq!(targets.arm_of("bob"), Some(Arm::Candidate));
    let long = "x".repeat(257);
    std::fs::write(
        folder.path().join("keys.txt"),
        [b"a\nb\xff\n", long.as_bytes(), b"\nsha256:0\na\nc\td\ncarol\n"].concat(),
    )
    .unwrap();
    let told = folder.load(None).unwrap_err().diagnostics;
    let told: Vec<_> = told.iter().map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.found)).collect();
    let lines = [
        (2, "a key with a control character, or not in UTF-8"),
        (3, "a key of 257 bytes"),
        (4, "`sha256:` without 64 hex digits behind it"),
        (6, "a key with a control character, or not in UTF-8"),
        (7, "a key that is listed for both arms"),
    ];
    let line = |(n, found)| format!("routes.one.targets.candidate_file: line {n} of \"keys.txt\": {found}");
    assert_eq!(told, lines.map(line));
    folder.write("keys.txt", &"a\tb\n".repeat(500));
    let told = folder.load(None).unwrap_err().diagnostics;
    assert_eq!(told.len(), 11, "of many mistakes some are told");
    assert!(told.iter().any(|diagnostic| diagnostic.found.starts_with("490 more lines")));
}
