//! Reading an answer as it passes: what a language model's answer tells of its own use, and numbers at
//! JSON pointers.
//!
//! It is given pieces of the body with their times, and only looks. What was cut off, is too long, or is
//! not what it says it is, is unknown: never zero.

mod documents;
mod unread;
mod usage;

use serde_json::Value;

use super::metric::{Kind, MetricId, Usage, Values};
use super::pointer::Pointer;
use documents::Documents;
pub use documents::{Format, MAX_DOCUMENT_BYTES};
pub use unread::Unread;
pub use usage::Tokens;

/// Microseconds since the request was sent.
pub type Micros = u64;

/// Prices of a backend's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// For a million tokens of the prompt.
    pub input: f64,
    /// For a million tokens of the answer.
    pub output: f64,
}

/// A metric that is a number in an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// The metric.
    pub metric: MetricId,
    /// What it counts.
    pub kind: Kind,
    /// Where it is.
    pub pointer: Pointer,
}

/// The documents of a whole body; `None` if one of them is not JSON, or too long.
#[must_use]
pub fn documents(format: Format, body: &[u8]) -> Option<Vec<Value>> {
    let (mut cutter, mut found) = (Documents::new(format), Some(Vec::new()));
    let mut take = |text: &[u8]| {
        if text == usage::DONE {
            return;
        }
        let document = serde_json::from_slice(text).ok();
        found = found.take().and_then(|mut found: Vec<Value>| {
            found.push(document?);
            Some(found)
        });
    };
    cutter.see(body, &mut take);
    cutter.finish(&mut take);
    found.filter(|_| !cutter.has_passed_over())
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Reading {
    documents: Documents,
    found: Found,
    first_token: Option<Micros>,
    last_token: Option<Micros>,
}

#[derive(Debug, Default)]
struct Found {
    tokens: Tokens,
    values: Values,
    /// Something was not JSON.
    not_json: bool,
}

impl Found {
    /// Reads a document, if it is one.
    fn read(&mut self, text: &[u8], numbers: &[Number]) -> Option<Value> {
        let document = serde_json::from_slice(text).ok();
        match &document {
            Some(document) => self.take(document, numbers),
            None => self.not_json |= text != usage::DONE,
        }
        document
    }

    fn take(&mut self, document: &Value, numbers: &[Number]) {
        self.tokens.read(document);
        for Number { metric, kind, pointer } in numbers {
            if let Some(value) = pointer.find(document).and_then(|value| kind.read_json(value)) {
                self.values.put(*metric, value);
            }
        }
    }
}

impl Reading {
    /// Begins to read an answer of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let documents = Documents::new(format);
        Self { documents, found: Found::default(), first_token: None, last_token: None }
    }

    /// A piece came in; these numbers are looked for.
    pub fn see(&mut self, piece: &[u8], at: Micros, numbers: &[Number]) {
        let Self { documents, found, first_token, last_token } = self;
        documents.see(piece, &mut |text| {
            let is_first = first_token.is_none();
            let tells = usage::may_tell(text);
            // Most events of a stream are one token each and hold nothing else: they are not parsed.
            if is_first || tells || numbers.iter().any(|number| number.pointer.may_be_in(text)) {
                let Some(document) = found.read(text, numbers) else { return };
                if is_first && usage::is_token(&document) {
                    *first_token = Some(at);
                }
            }
            if first_token.is_some() && !tells && text != usage::DONE {
                *last_token = Some(at);
            }
        });
    }

    /// Bytes that it holds at this moment.
    #[must_use]
    pub fn held(&self) -> usize {
        self.documents.held()
    }

    /// The answer is whole.
    #[must_use]
    pub fn finish(self, numbers: &[Number]) -> Read {
        let Self { mut documents, mut found, first_token, last_token } = self;
        documents.finish(&mut |text| {
            found.read(text, numbers);
        });
        let Found { tokens, values, not_json } = found;
        let nothing = tokens == Tokens::default() && values.iter().next().is_none();
        let unread = match (documents.has_passed_over(), not_json) {
            (true, _) => Some(Unread::TooLong),
            (false, true) => Some(Unread::NotJson),
            (false, false) => None,
        };
        Read { values, tokens, first_token, last_token, unread: unread.filter(|_| nothing) }
    }
}

/// What was read of a whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The numbers that were found.
    pub values: Values,
    /// How many tokens there were.
    pub tokens: Tokens,
    /// When the first token of a stream came.
    pub first_token: Option<Micros>,
    /// When the last one came.
    pub last_token: Option<Micros>,
    /// What kept it from being read, where nothing was found.
    pub unread: Option<Unread>,
}

impl Read {
    /// One figure of its use; `None` if the answer does not tell.
    #[must_use]
    pub fn usage(&self, usage: Usage, prices: Option<Prices>) -> Option<f64> {
        let Tokens { input, output } = self.tokens;
        match usage {
            Usage::InputTokens => input.map(|count| count as f64),
            Usage::OutputTokens => output.map(|count| count as f64),
            Usage::TotalTokens => Some(input?.saturating_add(output?) as f64),
            Usage::Cost => {
                let prices = prices?;
                Some((input? as f64 * prices.input + output? as f64 * prices.output) / 1e6)
            }
            Usage::FirstToken => self.first_token.map(|micros| micros as f64 / 1e3),
            Usage::PerOutputToken => self.per_token().map(|micros| micros / 1e3),
            Usage::TokensPerSecond => self.per_token().filter(|micros| *micros > 0.0).map(|micros| 1e6 / micros),
        }
    }

    /// Microseconds for each token after the first.
    fn per_token(&self) -> Option<f64> {
        let after_first = self.tokens.output?.checked_sub(1).filter(|count| *count > 0)?;
        let spent = self.last_token?.checked_sub(self.first_token?)?;
        Some(spent as f64 / after_first as f64)
    }
}

#[cfg(test)]
mod tests;
