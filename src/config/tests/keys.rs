//! Every key is known, read, and changes what runs.

use super::super::gather::{Gathered, gather};
use super::super::load::{finish, finish_reading};
use super::super::node::{Node, Value};
use super::super::restart::RESTART_KEYS;
use super::super::spec::{self, Kind, ROOT};
use super::super::visit::default_of;
use super::super::{parse, redact};
use super::*;

fn folder() -> Folder {
    let certificate = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    Folder::new(&[
        ("gateway.toml", FULL),
        ("ca.pem", &certificate),
        ("rsa.pem", crate::jwt::fixture::RSA_PUBLIC),
        ("control.txt", "# cautious\nd-1\n"),
        ("candidate.txt", "d-2\n"),
    ])
}

fn gathered(folder: &Folder) -> Gathered {
    gather(&folder.sources(&[]), None, &BTreeMap::new(), None)
}

/// Keys that hold one value or a list, as [`spec::walk`] names them.
fn leaves() -> Vec<(String, &'static spec::Key)> {
    let mut leaves = Vec::new();
    spec::walk(ROOT, &mut |path, key| {
        if !key.later && !matches!(key.kind, Kind::Table(_) | Kind::Named(_)) {
            leaves.push((path.to_owned(), key));
        }
    });
    leaves
}

#[test]
fn the_full_file_is_right_and_every_key_is_read() {
    let folder = folder();
    let ((loaded, diagnostics), read) = finish_reading(gathered(&folder), folder.path());
    assert!(loaded.is_some(), "{}", report::render(&diagnostics, report::Style::Plain));
    spec::walk(ROOT, &mut |path, key| {
        // The names `url` and `weight` within `urls` are read as part of the list's items.
        assert!(key.later || read.contains(path) || path == "backends.NAME.urls.url", "{path} is never read");
    });
    for path in &read {
        let mut known = false;
        spec::walk(ROOT, &mut |other, _| known |= other == path);
        assert!(known, "{path} is read and in no table of keys");
    }
}

#[test]
fn every_key_is_in_the_full_file_and_changes_the_configuration() {
    let folder = folder();
    let whole = finish(gathered(&folder), folder.path()).0.unwrap();
    let before = debug(&whole);
    for (path, key) in leaves() {
        let mut gathered = gathered(&folder);
        let pattern: Vec<&str> = path.split('.').collect();
        let reset = reset(&mut gathered.tree, &pattern, &default_of(key));
        assert!(reset > 0, "{path} is not in full.toml, or has its default there");
        // A value that cannot be left out has an effect, too: without it nothing runs.
        if let Some(loaded) = finish(gathered, folder.path()).0 {
            assert_ne!(debug(&loaded), before, "{path} changes nothing");
        }
    }
}

fn debug(loaded: &Loaded) -> String {
    format!("{:#?}", Config { hash: String::new(), ..loaded.config.clone() })
}

/// Puts the default at every place that a pattern means; the number of places that changed.
fn reset(node: &mut Node, pattern: &[&str], default: &Option<Node>) -> usize {
    let Some((first, rest)) = pattern.split_first() else { return 0 };
    match &mut node.value {
        Value::List(items) => items.iter_mut().map(|item| reset(item, pattern, default)).sum(),
        Value::Table(table) if *first == "NAME" => {
            table.values_mut().map(|entry| reset(&mut entry.node, rest, default)).sum()
        }
        Value::Table(table) if *first == "*" && rest.is_empty() => {
            let changed = table.len();
            table.clear();
            changed
        }
        // Tables that no key lists; what is listed beside them here is a list.
        Value::Table(table) if *first == "*" => {
            let others = table.values_mut().filter(|entry| entry.node.as_table().is_some());
            others.map(|entry| reset(&mut entry.node, rest, default)).sum()
        }
        Value::Table(table) if rest.is_empty() => {
            let typed =
                table.get(*first).is_some_and(|entry| Some(&entry.node.value) != default.as_ref().map(|n| &n.value));
            match default {
                Some(default) if typed => table.get_mut(*first).unwrap().node = default.clone(),
                _ => drop(table.remove(*first)),
            }
            usize::from(typed)
        }
        Value::Table(table) => table.get_mut(*first).map_or(0, |entry| reset(&mut entry.node, rest, default)),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => 0,
    }
}

#[test]
fn every_default_is_accepted_by_its_kind() {
    for (path, key) in leaves() {
        let Some(default) = default_of(key) else { continue };
        match &key.kind {
            Kind::Leaf(leaf) => assert_eq!(parse::leaf(leaf, &default), Ok(()), "{path}"),
            Kind::List(Kind::Leaf(leaf)) => {
                let Value::List(items) = &default.value else { panic!("{path}: {default:?}") };
                for item in items {
                    assert_eq!(parse::leaf(leaf, item), Ok(()), "{path}");
                }
            }
            Kind::Headers(_) => {}
            Kind::List(_) | Kind::Either(..) | Kind::Table(_) | Kind::Named(_) => panic!("{path} has a default"),
        }
    }
}

#[test]
fn the_breakers_defaults_are_the_domains() {
    let config = good(&format!("{BACKENDS}{ROUTE}"), &[]).config;
    assert_eq!(config.backends[0].breaker, crate::domain::breaker::Settings::default());
}

#[test]
fn the_list_of_restart_keys_is_the_specs() {
    let mut marked = Vec::new();
    spec::walk(ROOT, &mut |path, key| {
        if key.restart {
            marked.push(path.to_owned());
        }
    });
    let mut listed: Vec<String> = RESTART_KEYS.iter().map(|(path, _)| (*path).to_owned()).collect();
    marked.sort();
    listed.sort();
    assert_eq!(marked, listed);
}

#[test]
fn the_readme_names_every_key_that_needs_a_restart() {
    const README: &str = include_str!("../../../README.md");
    let hot_reload = README.split_once("\n## Hot reload\n").unwrap().1.split_once("\n## ").unwrap().0;
    let (before, _) = hot_reload.split_once(" need a restart").unwrap();
    let (_, item) = before.rsplit_once("\n- ").unwrap();
    let named: Vec<&str> = item.split('`').skip(1).step_by(2).collect();
    let listed: Vec<&str> = RESTART_KEYS.iter().map(|(path, _)| *path).collect();
    assert_eq!(named, listed);
}

#[test]
fn restart_keys_are_named_when_they_differ() {
    let folder = folder();
    let full = finish(gathered(&folder), folder.path()).0.unwrap().config;
    let plain = good(&format!("{BACKENDS}{ROUTE}"), &[]).config;
    assert_eq!(restart_required(&full, &plain).len(), RESTART_KEYS.len());
    assert_eq!(restart_required(&full, &full), Vec::<String>::new());
}

#[test]
fn the_redacted_tree_has_every_key_and_no_secret() {
    let folder = folder();
    let shown = redact::tree(&gathered(&folder).typed).to_string();
    let secrets = [
        "0123456789abcdef",
        "a secret of some length",
        "exposure tokens",
        "testers only",
        "pins are signed",
        r#""x-key":"k""#,
        "a shared secret",
        "a judge knows it",
    ];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}");
    }
    for (path, _) in leaves() {
        let name = path.rsplit('.').next().unwrap();
        if name == "*" {
            continue;
        }
        assert!(shown.contains(&format!("{name:?}:")), "{path}");
    }
}
