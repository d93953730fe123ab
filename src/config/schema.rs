//! The JSON Schema (draft 2020-12) of `gateway.toml`, made from the keys.
//!
//! It accepts what `check` accepts and refuses mistakes of shape; what needs more than one place to
//! be seen (a backend that is not there, two routes that match alike) only `check` finds.

use serde_json::{Map, Value as Json, json};

use super::node::{Node, Origin, Source, SourceKind, Value, parse_value};
use super::redact::scalar;
use super::spec::{Key, Kind, Leaf, ROOT};

/// A string that holds a variable: what it stands for is only known when it is loaded.
const VARIABLE: &str = r"\$";
/// What names look like.
const NAME: &str = "^[a-z0-9_-]{1,64}$";

/// The schema of a whole file.
#[must_use]
pub fn schema() -> Json {
    let mut schema = table(ROOT, Requirements::Kept);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("gateway.toml of Pointsman"));
        if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
            let layer = table(ROOT, Requirements::Dropped);
            let profiles = json!({
                "description": "Layers of which POINTSMAN_PROFILE chooses one.",
                "type": "object",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": layer,
            });
            properties.insert("profiles".to_owned(), profiles);
        }
    }
    schema
}

/// Whether keys that must be there must be there: not in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requirements {
    Kept,
    Dropped,
}

fn table(keys: &'static [Key], requirements: Requirements) -> Json {
    let listed = keys.iter().filter(|key| key.name != "*");
    let properties: Map<String, Json> = listed.map(|key| (key.name.to_owned(), property(key, requirements))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(any) = keys.iter().find(|key| key.name == "*") {
        schema["propertyNames"] = json!({ "pattern": NAME });
        schema["additionalProperties"] = property(any, requirements);
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() && requirements == Requirements::Kept {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &'static Key, requirements: Requirements) -> Json {
    if key.later {
        return json!({ "not": {}, "description": format!("Not yet available. {}", key.doc) });
    }
    let mut schema = value(&key.kind, requirements);
    schema["description"] = json!(key.doc);
    if let Some(default) = key.default {
        schema["default"] = default_json(&key.kind, default);
    }
    schema
}

fn default_json(kind: &Kind, text: &str) -> Json {
    let source = Source { name: String::new(), kind: SourceKind::File, text: text.to_owned() };
    let node = parse_value(&std::sync::Arc::new(source)).ok().filter(|_| !kind.is_text());
    json_of(&node.unwrap_or_else(|| Node::new(Value::Text(text.to_owned()), Origin::Default)))
}

fn json_of(node: &Node) -> Json {
    if let Value::List(items) = &node.value { items.iter().map(json_of).collect() } else { scalar(&node.value) }
}

fn value(kind: &'static Kind, requirements: Requirements) -> Json {
    match kind {
        Kind::Leaf(leaf) => one(leaf),
        Kind::List(item) => json!({ "type": "array", "items": value(item, requirements) }),
        Kind::Either(first, second) => {
            json!({ "anyOf": [value(first, requirements), value(second, requirements)] })
        }
        Kind::Table(keys) => table(keys, requirements),
        Kind::Named(keys) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME },
            "additionalProperties": table(keys, requirements),
        }),
        Kind::Headers(item) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" },
            "additionalProperties": value(item, requirements),
        }),
    }
}

fn one(leaf: &Leaf) -> Json {
    match leaf {
        Leaf::Text | Leaf::Reference(_) => json!({ "type": "string" }),
        Leaf::Word { now, .. } => json!({ "anyOf": [{ "enum": now }, variable()] }),
        Leaf::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Leaf::Float(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
        Leaf::Bool => json!({ "type": "boolean" }),
        Leaf::Status => json!({ "type": "integer", "minimum": 200, "maximum": 599 }),
        Leaf::Duration(..) => pattern(r"[0-9].*[A-Za-zµ]\s*$"),
        Leaf::Size(min, max) => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            pattern(r"^[0-9]+ *(B|KB|MB|GB|KiB|MiB|GiB)$"),
        ]}),
        Leaf::Address => pattern(":[0-9]{1,5}$"),
        Leaf::Network => pattern(r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"),
        Leaf::Host => pattern(r"^(\[[0-9A-Fa-f.:]+\]|[0-9A-Za-z._-]+)$"),
        Leaf::Url => pattern(r"^$|^https?://[^?#@]+$"),
        Leaf::Path => pattern(r"^/[^?#\s]*$"),
        Leaf::HeaderName => pattern(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        Leaf::HeaderValue => pattern(r"^[^\r\n]*$"),
        Leaf::Method => pattern("^[A-Z-]+$"),
        Leaf::Condition => json!({ "type": "object", "minProperties": 1 }),
        Leaf::Constant => json!({ "anyOf": [
            { "type": ["string", "number", "boolean"] },
            { "type": "array", "items": { "type": "string" } },
        ]}),
        Leaf::Json => json!({ "type": ["string", "number", "boolean", "array", "object"] }),
        Leaf::File => json!({ "type": "string", "minLength": 1 }),
        Leaf::Secret => json!({ "anyOf": [{ "type": "string" }, {
            "type": "object",
            "properties": { "file": { "type": "string", "minLength": 1, "description": "The file that holds it." } },
            "required": ["file"],
            "additionalProperties": false,
        }]}),
    }
}

fn pattern(pattern: &str) -> Json {
    json!({ "type": "string", "anyOf": [{ "pattern": pattern }, variable()] })
}

fn variable() -> Json {
    json!({ "type": "string", "pattern": VARIABLE })
}
