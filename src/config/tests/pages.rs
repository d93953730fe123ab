//! The schema and the reference page agree with what the loader does.

use super::super::gather::gather;
use super::super::node::{Node, Value};
use super::super::redact::scalar;
use super::*;

/// A file as JSON, as an editor's plug-in would see it.
fn json(text: &str) -> serde_json::Value {
    let source = super::super::node::Source {
        name: "gateway.toml".to_owned(),
        kind: super::super::node::SourceKind::File,
        text: text.to_owned(),
    };
    let (node, errors) = super::super::node::parse_document(&std::sync::Arc::new(source));
    assert_eq!(errors, []);
    json_of(&node)
}

fn json_of(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Table(table) => table.iter().map(|(name, entry)| (name.clone(), json_of(&entry.node))).collect(),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => scalar(&node.value),
    }
}

#[test]
fn the_schema_accepts_what_is_right() {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let profile = format!("{EXAMPLE}\n[profiles.dev.routes.answers.rollout]\npercent = 50\n");
    for text in [EXAMPLE, FULL, &profile] {
        let errors: Vec<String> =
            validator.iter_errors(&json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_mistakes_of_shape() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let broken = [
        "[listn]\n",
        "[listen]\nadress = \"0.0.0.0:1\"\n",
        "[listen]\nthreads = \"4\"\n",
        "[listen]\nthreads = 5000\n",
        "[listen]\naddress = \"here\"\n",
        "[shutdown]\ndrain_delay = 5\n",
        "[shutdown]\ndrain_delay = \"5\"\n",
        "[limits]\nmax_body = \"many\"\n",
        "[routes.r]\npath = \"/\"\ncontrol = 1\n",
        "[routes.R]\ncontrol = \"a\"\ncandidate = \"b\"\n",
        "[routes.r]\ncontrol = \"a\"\ncandidate = \"b\"\nforced = \"c\"\n",
        "[routes.r]\ncontrol = \"a\"\ncandidate = \"b\"\nguards = []\n",
        "[backends.a]\nurl = \"ftp://a\"\n",
        "[admin.tokens.a]\nrole = \"admin\"\ntoken = { path = \"x\" }\n",
        "[profiles.dev.listen]\nport = 1\n",
    ];
    for text in broken {
        assert!(!validator.is_valid(&json(text)), "{text}");
        assert!(
            load_text(&format!("{text}{}", if text.contains("routes") { BACKENDS } else { "" }), "x", &BTreeMap::new())
                .is_err(),
            "{text}"
        );
    }
}

#[test]
fn the_schemas_defaults_are_the_loaders() {
    let folder = Folder::new(&[("gateway.toml", &format!("{BACKENDS}{ROUTE}"))]);
    let tree = gather(&folder.sources(&[]), None, &BTreeMap::new(), None).tree;
    let schema = schema();
    let default = &schema["properties"]["limits"]["properties"]["max_headers"]["default"];
    assert_eq!(Some(default.clone()), tree.get("limits").and_then(|limits| limits.get("max_headers")).map(json_of));
    let proxies = &schema["properties"]["listen"]["properties"]["trusted_proxies"]["default"];
    assert!(proxies.as_array().is_some_and(|list| list.iter().any(|range| range == "10.0.0.0/8")), "{proxies}");
}

/// `POINTSMAN_BLESS=1 cargo test` writes the page anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference(), "docs/configuration.md is out of date: run the tests with POINTSMAN_BLESS=1");
}
