//! Templates: compiled once, rendered for a body.
//!
//! Two forms. A string is a whole JSON document: every value is written as JSON, so that nothing in a
//! body can end a string or begin a field. A table (any other value) is the document itself, whose
//! strings are texts with placeholders; a string that is one placeholder alone becomes the value with
//! its type. An undefined variable is a mistake in both.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use minijinja::value::Object;
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

use super::engine::{environment, is_too_large};
use super::{Failure, lint};
use crate::domain::Arm;
use crate::domain::condition::Fact;

/// Largest template in bytes, all its strings together.
pub const MAX_TEMPLATE_BYTES: usize = 32 << 10;
/// Most strings of a template that is a table.
pub const MAX_TEXTS: usize = 256;

/// Names that templates see beside the fields of the body.
const NAMES: [&str; 6] = ["body", "contexts", "route", "arm", "request", "status"];
/// Those that only exist once there is an answer.
const ANSWER_NAMES: [&str; 2] = ["request", "status"];

/// Which way a template goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Towards the backend.
    Request,
    /// Towards the client.
    Response,
}

/// What a template may look at.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The body: of the request, or of the answer.
    pub body: &'a Json,
    /// Attributes by their names (`user.tier`); those that are missing are `None`.
    pub facts: &'a [(Arc<str>, Option<Fact<'static>>)],
    /// The route's name.
    pub route: &'a str,
    /// The arm.
    pub arm: Arm,
    /// For an answer: the client's own body, if it is JSON, and the status.
    pub answer: Option<(Option<&'a Json>, u16)>,
}

/// What of the contexts a template mentions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    /// `contexts`, as a whole.
    All,
    /// `contexts.user`, as a whole.
    Kind(String),
    /// `contexts.user.tier`.
    Attribute(String, String),
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line within the string, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the string before it.
    pub byte: usize,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub help: String,
}

impl Mistake {
    /// A mistake at a byte of the source.
    pub(super) fn at(source: &str, byte: usize, found: impl Into<String>, help: impl Into<String>) -> Self {
        let before = source.get(..byte).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            byte,
            found: found.into(),
            help: help.into(),
        }
    }

    fn of(source: &str, error: &Error) -> Self {
        let found = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        let help = "see docs/rewriting.md for what templates can do";
        match error.range() {
            Some(range) => Self::at(source, range.start, found, help),
            None => {
                let line = error.line().unwrap_or(1);
                let byte = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
                Self::at(source, byte, found, help)
            }
        }
    }
}

/// A compiled template.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    shape: Shape,
    mentions: BTreeSet<Mention>,
    source: Json,
}

/// The form of a template. Strings are named by their number in the environment.
#[derive(Debug, Clone)]
enum Shape {
    /// JSON text: a whole document, or one value.
    Json(Box<str>),
    /// Text within a document.
    Text(Box<str>),
    Literal(Json),
    List(Box<[Shape]>),
    Table(Box<[(String, Shape)]>),
}

impl Template {
    /// Compiles a template. Each mistake comes with a JSON pointer to the string that it is in.
    ///
    /// # Errors
    /// When it is no template, is too large, or names what there is not: the first mistake of each string.
    pub fn compile(source: &Json, side: Side) -> Result<Self, Vec<(String, Mistake)>> {
        let mut compiling = Compiling::new(side);
        let shape = match source.as_str() {
            Some(text) => {
                let document = compiling.document(text);
                compiling.or_note(document, "")
            }
            None => compiling.shape(source, ""),
        };
        let Compiling { environment, mentions, mistakes, .. } = compiling;
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self { environment: Arc::new(environment), shape, mentions, source: source.clone() })
    }

    /// What of the contexts it mentions.
    pub fn mentions(&self) -> impl Iterator<Item = &Mention> {
        self.mentions.iter()
    }

    /// The document that it makes; no string of it has more than `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be made, or is none.
    pub fn render(&self, given: &Given<'_>, limit: usize) -> Result<Json, Failure> {
        let mut rendering = Rendering { environment: &self.environment, root: root(given), limit, left: limit };
        rendering.shape(&self.shape)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What is at hand while a template is compiled.
struct Compiling {
    environment: Environment<'static>,
    side: Side,
    mentions: BTreeSet<Mention>,
    mistakes: Vec<(String, Mistake)>,
    texts: usize,
    bytes: usize,
}

impl Compiling {
    fn new(side: Side) -> Self {
        let (environment, mentions, mistakes) = (environment(), BTreeSet::new(), Vec::new());
        Self { environment, side, mentions, mistakes, texts: 0, bytes: 0 }
    }

    fn document(&mut self, text: &str) -> Result<Shape, Mistake> {
        if !is_template(text)
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text)
        {
            let line = error.line().max(1);
            let byte = text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
            let found = format!("a template that makes no JSON: {error}");
            return Err(Mistake::at(text, byte, found, "a string is a whole JSON document with `{{ value }}`"));
        }
        self.text(text, true)
    }

    /// `path` is the JSON pointer to the value.
    fn shape(&mut self, value: &Json, path: &str) -> Shape {
        match value {
            Json::String(text) if is_template(text) => {
                let alone = self.is_one_expression(text);
                let compiled = self.text(text, alone);
                self.or_note(compiled, path)
            }
            Json::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| self.shape(item, &format!("{path}/{index}")));
                Shape::List(items.collect())
            }
            Json::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    (name.clone(), self.shape(field, &format!("{path}/{step}")))
                });
                Shape::Table(fields.collect())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Shape::Literal(value.clone()),
        }
    }

    /// What was compiled; something in its place where it has a mistake.
    fn or_note(&mut self, compiled: Result<Shape, Mistake>, path: &str) -> Shape {
        compiled.unwrap_or_else(|mistake| {
            self.mistakes.push((path.to_owned(), mistake));
            Shape::Literal(Json::Null)
        })
    }

    fn is_one_expression(&self, text: &str) -> bool {
        let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        inner.is_some_and(|inner| self.environment.compile_expression_owned(inner.to_owned()).is_ok())
    }

    fn text(&mut self, text: &str, json: bool) -> Result<Shape, Mistake> {
        self.texts += 1;
        self.bytes += text.len();
        if self.texts > MAX_TEXTS || self.bytes > MAX_TEMPLATE_BYTES {
            let help = format!("at most {MAX_TEXTS} texts and {MAX_TEMPLATE_BYTES} bytes together");
            return Err(Mistake::at(text, 0, "a template that is too large", help));
        }
        lint::lint(text, json)?;
        let name = name_of(self.texts, json);
        let added = self.environment.add_template_owned(name.clone(), text.to_owned());
        added.map_err(|error| Mistake::of(text, &error))?;
        self.note_mentions(&name, text)?;
        let name = name.into_boxed_str();
        Ok(if json { Shape::Json(name) } else { Shape::Text(name) })
    }

    fn note_mentions(&mut self, name: &str, text: &str) -> Result<(), Mistake> {
        let template = self.environment.get_template(name).map_err(|error| Mistake::of(text, &error))?;
        let mut mentioned: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        mentioned.sort_unstable();
        for path in mentioned {
            let mut steps = path.split('.');
            let first = steps.next().unwrap_or_default();
            if self.side == Side::Request && ANSWER_NAMES.contains(&first) {
                let at = text.find(first).unwrap_or(0);
                let found = format!("`{first}` in a template for requests");
                let help = format!("it belongs to an answer; the field of that name is `body.{first}`");
                return Err(Mistake::at(text, at, found, help));
            }
            if first == "contexts" {
                self.mentions.insert(match (steps.next(), steps.next()) {
                    (None, _) => Mention::All,
                    (Some(kind), None) => Mention::Kind(kind.to_owned()),
                    (Some(kind), Some(attribute)) => Mention::Attribute(kind.to_owned(), attribute.to_owned()),
                });
            }
        }
        Ok(())
    }
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening))
}

/// The name says how values are written.
fn name_of(number: usize, json: bool) -> String {
    format!("{number}{}", if json { ".json" } else { ".txt" })
}

/// What is at hand while a template is rendered.
struct Rendering<'a> {
    environment: &'a Environment<'static>,
    root: Value,
    limit: usize,
    /// Bytes that may still come out, all strings together.
    left: usize,
}

impl Rendering<'_> {
    fn shape(&mut self, shape: &Shape) -> Result<Json, Failure> {
        match shape {
            Shape::Json(name) => {
                let bytes = self.text(name)?;
                serde_json::from_slice(&bytes).map_err(|_| Failure::Output)
            }
            Shape::Text(name) => {
                let bytes = self.text(name)?;
                std::str::from_utf8(&bytes).map(Json::from).map_err(|_| Failure::Output)
            }
            Shape::Literal(value) => Ok(value.clone()),
            Shape::List(items) => items.iter().map(|item| self.shape(item)).collect(),
            Shape::Table(fields) => fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), self.shape(field)?)))
                .collect::<Result<_, _>>()
                .map(Json::Object),
        }
    }

    fn text(&mut self, name: &str) -> Result<BytesMut, Failure> {
        let mut out = BytesMut::new().limit(self.left).writer();
        let template = self.environment.get_template(name).map_err(|error| told(&error))?;
        let rendered = template.render_captured_to(self.root.clone(), &mut out);
        let full = out.get_ref().limit() == 0;
        match rendered {
            Ok(_) => {}
            // The writer takes what fits and then no more.
            Err(_) if full => return Err(Failure::TooLarge),
            Err(error) if is_too_large(&error) => return Err(Failure::TooLarge),
            Err(error) => return Err(told(&error)),
        }
        let bytes = out.into_inner().into_inner();
        self.left -= bytes.len();
        debug_assert!(self.left <= self.limit);
        Ok(bytes)
    }
}

/// What may be told of a mistake: details can hold parts of a body.
fn told(error: &Error) -> Failure {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    Failure::Template(format!("{}{line}", error.kind()))
}

/// What names mean in a template.
#[derive(Debug)]
struct Root {
    body: Value,
    contexts: Value,
    route: Value,
    arm: Value,
    request: Value,
    status: Value,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let value = match NAMES.iter().position(|known| *known == name) {
            Some(0) => self.body.clone(),
            Some(1) => self.contexts.clone(),
            Some(2) => self.route.clone(),
            Some(3) => self.arm.clone(),
            Some(4) => self.request.clone(),
            Some(_) => self.status.clone(),
            None => self.body.as_object().and_then(|body| body.get_value_by_str(name))?,
        };
        Some(value).filter(|value| !value.is_undefined())
    }
}

fn root(given: &Given<'_>) -> Value {
    let (request, status) = match given.answer {
        Some((request, status)) => (request.map_or(Value::UNDEFINED, value_of_json), Value::from(status)),
        None => (Value::UNDEFINED, Value::UNDEFINED),
    };
    Value::from_object(Root {
        body: value_of_json(given.body),
        contexts: contexts(given.facts),
        route: Value::from(given.route),
        arm: Value::from(given.arm.as_str()),
        request,
        status,
    })
}

/// The facts by kind. A kind whose facts are all missing is there, and empty.
fn contexts(facts: &[(Arc<str>, Option<Fact<'static>>)]) -> Value {
    let mut kinds: Vec<(&str, Vec<(&str, Value)>)> = Vec::new();
    for (name, fact) in facts {
        let (kind, attribute) = name.split_once('.').unwrap_or((name, ""));
        let index = kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            kinds.push((kind, Vec::new()));
            kinds.len() - 1
        });
        if let (Some(fact), Some((_, known))) = (fact, kinds.get_mut(index)) {
            known.push((attribute, value_of(fact)));
        }
    }
    Value::from_pairs(kinds.into_iter().map(|(kind, known)| (kind, Value::from_pairs(known))))
}

fn value_of_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(word) => Value::from(*word),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value_of_json).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), value_of_json(value))))
        }
    }
}

fn value_of(fact: &Fact<'_>) -> Value {
    match fact {
        Fact::Text(text) => Value::from(&**text),
        // Whole numbers are written without a point.
        Fact::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => Value::from(*number as i64),
        Fact::Number(number) => Value::from(*number),
        Fact::Boolean(word) => Value::from(*word),
        Fact::List(items) => items.iter().map(|item| Value::from(&**item)).collect(),
        Fact::Timestamp(time) => Value::from(time.to_string()),
        Fact::Version(version) => Value::from(version.to_string()),
    }
}
