//! What an endpoint is, as data: the router serves it, and `/openapi.json` tells of it.
//!
//! It answers nothing by itself. Invariant: method and path of what is served and of what is told are the
//! same values, and so are the codes of refusals, the bounds of parameters and the types of bodies.

use std::sync::Arc;

use axum::http::header::{self, HeaderName};
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use tokio::sync::Semaphore;

use super::Console;
use super::ofrep::Ofrep;
use super::parameters::Parameter;
use super::problem::Problem;

/// JSON, as most answers are.
pub(super) const JSON: &str = "application/json";

/// The shape of a body, by a generator that gathers what it refers to.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;
/// What serves an endpoint.
pub(super) type Serve = fn(&Shared, MethodFilter) -> MethodRouter<Arc<Console>>;

/// What some endpoints keep beside the console.
pub(super) struct Shared {
    pub(super) ofrep: Arc<Ofrep>,
    /// Places for exports.
    pub(super) exports: Arc<Semaphore>,
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What a program calls it.
    pub(super) name: &'static str,
    /// What it does, in a line.
    pub(super) words: &'static str,
    pub(super) serve: Serve,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// Beside those that every endpoint of its kind may tell.
    pub(super) refusals: Vec<(StatusCode, &'static str)>,
}

/// What is sent, as JSON.
pub(super) struct Body {
    pub(super) shape: Shape,
    /// Bytes.
    pub(super) most: usize,
}

/// What may come back, beside problems.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) words: &'static str,
    /// Content types with the shapes of what comes.
    pub(super) content: Vec<(&'static str, Shape)>,
    /// Fields that are always there.
    pub(super) fields: Vec<HeaderName>,
}

/// The shape of a type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Answer {
    pub(super) const fn new(status: StatusCode, words: &'static str) -> Self {
        Self { status, words, content: Vec::new(), fields: Vec::new() }
    }

    /// 200 with JSON.
    pub(super) fn json<T: JsonSchema>(words: &'static str) -> Self {
        Self::new(StatusCode::OK, words).with(JSON, of::<T>)
    }

    /// 200 with text.
    pub(super) fn text(words: &'static str, kind: &'static str) -> Self {
        Self::new(StatusCode::OK, words).with(kind, of::<String>)
    }

    pub(super) fn with(mut self, kind: &'static str, shape: Shape) -> Self {
        self.content.push((kind, shape));
        self
    }

    pub(super) fn field(mut self, name: HeaderName) -> Self {
        self.fields.push(name);
        self
    }
}

impl Endpoint {
    pub(super) fn new(
        method: Method,
        path: &'static str,
        name: &'static str,
        words: &'static str,
        serve: Serve,
    ) -> Self {
        let parameters = Vec::new();
        Self { method, path, name, words, serve, parameters, body: None, answers: Vec::new(), refusals: Vec::new() }
    }

    pub(super) fn asks(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend_from_slice(parameters);
        self
    }

    pub(super) fn takes(mut self, shape: Shape, most: usize) -> Self {
        self.body = Some(Body { shape, most });
        self
    }

    pub(super) fn gives(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    pub(super) fn refuses(mut self, problems: &[Problem]) -> Self {
        self.refusals.extend(problems.iter().map(|problem| (problem.status(), problem.code())));
        self
    }

    pub(super) fn tells(mut self, refusals: &[(StatusCode, &'static str)]) -> Self {
        self.refusals.extend_from_slice(refusals);
        self
    }

    /// The part of an OFREP answer that is the protocol's own failure.
    pub(super) fn fails<T: JsonSchema>(self, statuses: &[StatusCode]) -> Self {
        let failure = |status| Answer::new(status, "The protocol's own word for it.").with(JSON, of::<T>);
        statuses.iter().fold(self, |endpoint, status| match *status {
            StatusCode::TOO_MANY_REQUESTS => endpoint.gives(failure(*status).field(header::RETRY_AFTER)),
            _ => endpoint.gives(failure(*status)),
        })
    }

    /// Names within braces of its path.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
