//! What one arm is sent instead of a body, and what comes back instead of its answer.
//!
//! Templates (minijinja, <https://docs.rs/minijinja>) and merge patches (RFC 7396), compiled when the
//! file is loaded. Nothing here knows of HTTP. A body in, a JSON document out, or a [`Failure`]: never
//! something that is no JSON, never without bounds, and never more of JSON's structure from a body than
//! the template has a place for.

mod engine;
mod growth;
mod lint;
mod template;

use serde_json::Value;

pub use engine::FUEL;
pub use template::{Given, MAX_TEMPLATE_BYTES, MAX_TEXTS, Mention, Mistake, Side, Template};

/// What becomes of a body: the template makes a document, the merge patch has the last word.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body {
    /// Makes the document; without it the body itself is the document.
    pub template: Option<Template>,
    /// Laid over the document (RFC 7396).
    pub merge: Option<Value>,
}

/// Why there is no rewritten body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The body is not JSON, or nested more deeply than 128 levels.
    #[error("the body is not JSON")]
    NotJson,
    /// What came out is larger than it may be.
    #[error("the rewritten body is too large")]
    TooLarge,
    /// The template asks for what is not there, does what cannot be done, or takes too long. Names the
    /// kind of mistake and the line, nothing of the body.
    #[error("the template failed: {0}")]
    Template(String),
    /// What the template made is not JSON.
    #[error("the template made no JSON")]
    Output,
}

impl Body {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.template.is_none() && self.merge.is_none()
    }

    /// The rewritten body, as compact JSON of at most `limit` bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn rewrite(&self, given: &Given<'_>, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut document = match &self.template {
            Some(template) => template.render(given, limit)?,
            None => given.body.clone(),
        };
        if let Some(patch) = &self.merge {
            json_patch::merge(&mut document, patch);
        }
        compact(&document, limit)
    }
}

impl Template {
    /// The document that it makes, as compact JSON of at most `limit` bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn rewrite(&self, given: &Given<'_>, limit: usize) -> Result<Vec<u8>, Failure> {
        compact(&self.render(given, limit)?, limit)
    }
}

fn compact(document: &Value, limit: usize) -> Result<Vec<u8>, Failure> {
    let bytes = serde_json::to_vec(document).map_err(|_| Failure::Output)?;
    if bytes.len() > limit { Err(Failure::TooLarge) } else { Ok(bytes) }
}

/// A body as a document.
///
/// # Errors
/// When it is not JSON (RFC 8259), or nested more deeply than 128 levels.
pub fn document(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|_| Failure::NotJson)
}

/// Whether a client asks for its answer as a stream of events, as OpenAI, Anthropic and Ollama say it.
#[must_use]
pub fn asks_for_stream(body: &Value) -> bool {
    body.get("stream") == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests;
