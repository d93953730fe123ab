use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Every object within a value, with the way to it.
fn objects<'a>(value: &'a Value, way: &str, found: &mut Vec<(String, &'a Map<String, Value>)>) {
    match value {
        Value::Object(fields) => {
            found.push((way.to_owned(), fields));
            fields.iter().for_each(|(name, value)| objects(value, &format!("{way}/{name}"), found));
        }
        Value::Array(items) => items.iter().for_each(|value| objects(value, way, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_referred_to() {
    let document = document();
    let mut found = Vec::new();
    objects(&document, "", &mut found);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut used = BTreeSet::new();
    for reference in found.iter().filter_map(|(_, object)| object.get("$ref")?.as_str()) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
        used.insert(pointer.rsplit('/').next().unwrap());
    }
    for name in schemas.keys() {
        assert!(used.contains(name.as_str()), "nobody refers to {name}");
        // schemars numbers names that two types share.
        assert!(name.chars().all(|letter| letter.is_ascii_alphabetic()), "{name} is a name of two types");
    }
}

#[test]
fn words_are_for_readers_of_the_document() {
    let document = document();
    let mut found = Vec::new();
    objects(&document, "", &mut found);
    let mut bad = Vec::new();
    for (way, object) in found {
        for name in ["description", "summary"] {
            let Some(words) = object.get(name).and_then(Value::as_str) else { continue };
            let is_good = !words.is_empty() && !words.contains("[`") && !words.contains("::");
            if !is_good {
                bad.push(format!("{way}: {words:?}"));
            }
        }
    }
    assert!(bad.is_empty(), "no sentences for them: {bad:#?}");
}

#[test]
fn operations_have_names_of_their_own_and_shapes_for_what_they_answer() {
    let all: Vec<Endpoint> = endpoints::probes().into_iter().chain(endpoints::all()).collect();
    let names: BTreeSet<&str> = all.iter().map(|endpoint| endpoint.name).collect();
    let places: BTreeSet<(&str, &str)> = all.iter().map(|endpoint| (endpoint.path, endpoint.method.as_str())).collect();
    assert_eq!((names.len(), places.len()), (all.len(), all.len()));
    for endpoint in &all {
        assert!(endpoint.answers.iter().any(|answer| answer.status.is_success()), "{}", endpoint.name);
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { sources(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn nothing_is_routed_beside_the_table() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin"), &mut files);
    let calls = files.iter().filter(|path| !path.ends_with("openapi/tests.rs"));
    let calls: usize = calls.map(|path| fs::read_to_string(path).unwrap().matches("Router::new()").count()).sum();
    assert_eq!(calls, 1, "only `served` makes a router");
    for endpoint in endpoints::probes().iter().chain(&endpoints::all()) {
        assert!(axum::routing::MethodFilter::try_from(endpoint.method.clone()).is_ok(), "{}", endpoint.name);
    }
}

#[test]
fn the_page_of_the_documentation_names_every_endpoint() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/administration.md")).unwrap();
    let all = endpoints::probes().into_iter().chain(endpoints::all());
    for endpoint in all.filter(|endpoint| endpoint.method != axum::http::Method::OPTIONS) {
        assert!(page.contains(&format!("`{} {}", endpoint.method, endpoint.path)), "{}", endpoint.name);
    }
}
