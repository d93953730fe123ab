//! `GET /openapi.json`: what this address answers, as OpenAPI 3.1, made of the table that the router is made of.
//!
//! Shapes come from the types that are written and read, roles from the guard, refusals from the problems.
//! It tells nothing about this deployment. Invariant: what stands in it is asked of the code, not said twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoint::{Answer, Endpoint, JSON};
use super::parameters::{Kind, MAX_TEXT, Parameter};
use super::problem::{Document, Problem};
use super::{Console, endpoints, guard, ofrep};
use crate::config::model::Role;

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";
/// Where schemas refer to each other.
const SCHEMAS: &str = "/components/schemas";
const PROBLEM: &str = "application/problem+json";
const ABOUT: &str = "What operators, pages of statistics and OpenFeature clients ask of a gateway. Reading is open on a \
                     loopback address as long as the file names no token. Times are RFC 3339 in UTC; `null` is unknown.";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The document.
pub(super) fn page(_: &Console) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, JSON)], DOCUMENT.as_str())
}

/// Generators that gather schemas: what is written always has its fields, what is read may lack some.
struct Shapes {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

/// The whole document.
pub(super) fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        })
    };
    let mut shapes = Shapes {
        written: settings().for_serialize().into_generator(),
        read: settings().for_deserialize().into_generator(),
    };
    let mut paths = Map::new();
    for endpoint in endpoints::probes().iter().chain(&endpoints::all()) {
        let operation = operation(endpoint, &mut shapes);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    shapes.written.subschema_for::<Document>();
    let mut schemas = shapes.written.take_definitions(true);
    for (name, schema) in shapes.read.take_definitions(true) {
        schemas.entry(name).or_insert(schema);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "summary": "The administrative API",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": security_schemes() },
    })
}

fn security_schemes() -> Value {
    json!({
        "token": { "type": "http", "scheme": "bearer", "description": "A token of `admin.tokens`." },
        "apiKey": {
            "type": "apiKey", "in": "header", "name": guard::API_KEY,
            "description": "The same, as clients of OFREP may send it.",
        },
    })
}

fn operation(endpoint: &Endpoint, shapes: &mut Shapes) -> Value {
    let role = guard::needed(&endpoint.method, endpoint.path, None);
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.words,
        "parameters": parameters(endpoint),
        "responses": responses(endpoint, role, shapes),
        "security": security(endpoint, role),
    });
    if let Some(role) = role {
        operation["description"] = format!("Takes a token, {}.", guard::enough(role)).into();
    }
    if let Some(body) = &endpoint.body {
        let shape = (body.shape)(&mut shapes.read);
        let words = format!("At most {} bytes.", body.most);
        operation["requestBody"] =
            json!({ "required": true, "description": words, "content": { JSON: { "schema": shape } } });
    }
    operation
}

fn security(endpoint: &Endpoint, role: Option<Role>) -> Value {
    match role {
        None => json!([]),
        Some(_) if endpoint.path.starts_with(ofrep::PREFIX) => json!([{ "token": [] }, { "apiKey": [] }]),
        Some(_) => json!([{ "token": [] }]),
    }
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let in_path = |name: &str| {
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    };
    endpoint.path_parameters().map(in_path).chain(endpoint.parameters.iter().map(in_query)).collect()
}

fn in_query(parameter: &Parameter) -> Value {
    let (needed, schema) = match parameter.kind {
        Kind::Text => (false, json!({ "type": "string", "minLength": 1, "maxLength": MAX_TEXT })),
        Kind::Free { needed } => (needed, json!({ "type": "string" })),
        Kind::Time | Kind::NeededTime => {
            (parameter.kind == Kind::NeededTime, json!({ "type": "string", "format": "date-time" }))
        }
        Kind::Number { least, most, default } => {
            let mut schema = json!({ "type": "integer", "minimum": least, "maximum": most });
            if let Some(default) = default {
                schema["default"] = default.into();
            }
            (false, schema)
        }
        Kind::Word(words) => (false, json!({ "type": "string", "enum": words })),
        Kind::Pairs => (false, json!({ "type": "array", "items": { "type": "string", "pattern": "=" } })),
        Kind::Length { .. } => (false, json!({ "type": "string", "examples": ["15m", "1h", "7d"] })),
    };
    json!({
        "name": parameter.name, "in": "query", "required": needed, "description": parameter.words, "schema": schema,
    })
}

/// Everything that may come back, by status.
fn responses(endpoint: &Endpoint, role: Option<Role>, shapes: &mut Shapes) -> BTreeMap<String, Value> {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for answer in &endpoint.answers {
        let response = responses.entry(answer.status.as_str().to_owned()).or_insert_with(|| json!({}));
        add(response, answer, shapes);
    }
    let mut codes: BTreeMap<StatusCode, BTreeSet<&str>> = BTreeMap::new();
    for (status, code) in refusals(endpoint, role) {
        codes.entry(status).or_default().insert(code);
    }
    for (status, codes) in codes {
        let response = responses.entry(status.as_str().to_owned()).or_insert_with(|| json!({}));
        let listed: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        let words = response["description"].as_str().unwrap_or_default();
        response["description"] = format!("{words} {}", listed.join(", ")).trim_start().into();
        response["content"][PROBLEM]["schema"] = json!({
            "$ref": format!("#{SCHEMAS}/Problem"),
            "properties": { "status": { "const": status.as_u16() }, "code": { "enum": codes } },
        });
        let field = match status {
            StatusCode::UNAUTHORIZED => Some(header::WWW_AUTHENTICATE),
            StatusCode::TOO_MANY_REQUESTS => Some(header::RETRY_AFTER),
            _ => None,
        };
        field.iter().for_each(|name| add_field(response, name));
    }
    responses
}

fn add(response: &mut Value, answer: &Answer, shapes: &mut Shapes) {
    response["description"] = answer.words.into();
    for (kind, shape) in &answer.content {
        response["content"][*kind]["schema"] = shape(&mut shapes.written).to_value();
    }
    answer.fields.iter().for_each(|name| add_field(response, name));
}

fn add_field(response: &mut Value, name: &HeaderName) {
    response["headers"][name.as_str()] = json!({ "required": true, "schema": { "type": "string" } });
}

/// What an endpoint may refuse with: its own, and what the guard, the bounds and the ways of reading add.
fn refusals(endpoint: &Endpoint, role: Option<Role>) -> Vec<(StatusCode, &'static str)> {
    let mut problems =
        vec![Problem::BadHost, Problem::UnknownHost, Problem::ForeignOrigin, Problem::Timeout, Problem::Internal];
    if let Some(role) = role {
        problems.extend([Problem::TokenRequired(role), Problem::InvalidToken, Problem::RoleTooLow(role)]);
    }
    let is_ofrep = endpoint.path.starts_with(ofrep::PREFIX);
    if !endpoint.parameters.is_empty() {
        problems.push(Problem::Invalid(String::new()));
    }
    if let Some(body) = endpoint.body.as_ref().filter(|_| !is_ofrep) {
        problems.extend([Problem::Invalid(String::new()), Problem::NotJson, Problem::TooLarge(body.most)]);
    }
    let refusals = problems.iter().map(|problem| (problem.status(), problem.code()));
    refusals.chain(endpoint.refusals.iter().copied()).collect()
}

#[cfg(test)]
mod tests;
