//! What is asked: samples or a file, made ready for sending once, so that a request only refers to it.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method as HttpMethod, Request, header};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::args::{AskedArgs, Method};
use super::crowd::read;
use crate::cli::people::QUERIES;

/// Name of a parameter and of a field, unless one is given.
const PARAMETER: &str = "q";
const FIELD: &str = "query";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Queries, at least one.
#[derive(Debug)]
pub(super) enum Questions {
    /// Each in a URL.
    Get(Vec<PathAndQuery>),
    /// Each in a body, for one URL.
    Post(PathAndQuery, Vec<Bytes>),
}

impl Questions {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn load(asked: &AskedArgs, target: &PathAndQuery) -> anyhow::Result<Self> {
        let text = asked.queries.as_deref().map(read).transpose()?;
        let lines: Vec<(usize, &str)> = match &text {
            Some(text) => (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect(),
            None => (1..).zip(QUERIES).collect(),
        };
        let place = |line: usize| match &asked.queries {
            Some(path) => format!("{}:{line}", path.display()),
            None => format!("sample {line}"),
        };
        ensure!(!lines.is_empty(), "{} holds no query: expected one a line", place(1));
        let name = asked.query_name.as_deref();
        match asked.method {
            Method::Get => {
                let target = |(line, text): (usize, &str)| {
                    with_parameter(target, name.unwrap_or(PARAMETER), text.trim()).with_context(|| place(line))
                };
                Ok(Self::Get(lines.into_iter().map(target).collect::<anyhow::Result<_>>()?))
            }
            Method::Post => {
                let body =
                    |(line, text): (usize, &str)| body(name.unwrap_or(FIELD), text.trim()).with_context(|| place(line));
                Ok(Self::Post(target.clone(), lines.into_iter().map(body).collect::<anyhow::Result<_>>()?))
            }
        }
    }

    /// A request with one of them, without fields that say who asks.
    pub(super) fn request(&self, rng: &mut fastrand::Rng) -> Request<Full<Bytes>> {
        match self {
            Self::Get(targets) => {
                let mut request = Request::new(Full::default());
                *request.uri_mut() = targets[rng.usize(..targets.len())].clone().into();
                request
            }
            Self::Post(target, bodies) => {
                let mut request = Request::new(Full::new(bodies[rng.usize(..bodies.len())].clone()));
                *request.method_mut() = HttpMethod::POST;
                *request.uri_mut() = target.clone().into();
                request.headers_mut().insert(header::CONTENT_TYPE, JSON);
                request
            }
        }
    }
}

fn with_parameter(target: &PathAndQuery, name: &str, text: &str) -> anyhow::Result<PathAndQuery> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair(name, text);
    let separator = if target.query().is_some() { '&' } else { '?' };
    PathAndQuery::try_from(format!("{target}{separator}{}", query.finish())).context("too long for a URL")
}

/// The line itself where it is a JSON object, and otherwise an object with it.
fn body(name: &str, text: &str) -> anyhow::Result<Bytes> {
    if text.starts_with('{') {
        return match serde_json::from_str(text).context("it begins like a JSON object and is none")? {
            Value::Object(_) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                bail!("it begins like a JSON object and is none")
            }
        };
    }
    let object = Map::from_iter([(name.to_owned(), Value::from(text))]);
    Ok(Bytes::from(Value::Object(object).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_stands_behind_what_is_in_the_url_already() {
        let rows = [("/search", "/search?q=a+%26+b"), ("/s/?lang=de", "/s/?lang=de&q=a+%26+b")];
        for (target, expected) in rows {
            let target = PathAndQuery::try_from(target).unwrap();
            assert_eq!(with_parameter(&target, "q", "a & b").unwrap(), expected);
        }
    }

    #[test]
    fn a_line_may_be_the_whole_object() {
        assert_eq!(body("query", "why \"so\"?").unwrap(), r#"{"query":"why \"so\"?"}"#);
        assert_eq!(body("query", r#"{"messages": []}"#).unwrap(), r#"{"messages": []}"#);
        assert!(body("query", "{why}").is_err());
    }
}
