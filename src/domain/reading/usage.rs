//! Where OpenAI, Anthropic and Ollama shaped answers tell how many tokens there were.
//!
//! Shapes: OpenAI chat completions (`usage.prompt_tokens`, `completion_tokens`; in a stream the last
//! event where `stream_options.include_usage` was asked for) and responses (`usage` or `response.usage`
//! with `input_tokens`, `output_tokens`); Anthropic messages (`usage`; in a stream `message.usage` of
//! `message_start`, then `usage.output_tokens` so far in `message_delta`; tokens read from or written to
//! a cache are counted apart there and are part of the prompt); Ollama (`prompt_eval_count`,
//! `eval_count` of the last line).

use serde_json::Value;

/// Tokens of an answer, as far as it tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
}

impl Tokens {
    /// Takes over what a document tells; what is told later counts.
    pub(super) fn read(&mut self, document: &Value) {
        let places = [Some(document), document.get("message"), document.get("response")];
        let usage = places.into_iter().flatten().find_map(|place| place.get("usage").filter(|usage| usage.is_object()));
        let (input, output) = match usage {
            Some(usage) => (input_of(usage), first(usage, &["completion_tokens", "output_tokens"])),
            None => (first(document, &["prompt_eval_count"]), first(document, &["eval_count"])),
        };
        self.input = input.or(self.input);
        self.output = output.or(self.output);
    }
}

fn input_of(usage: &Value) -> Option<u64> {
    if let Some(prompt) = first(usage, &["prompt_tokens"]) {
        return Some(prompt);
    }
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached = cached.into_iter().filter_map(|name| first(usage, &[name])).fold(0, u64::saturating_add);
    Some(first(usage, &["input_tokens"])?.saturating_add(cached))
}

fn first(fields: &Value, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| fields.get(name)?.as_u64())
}

/// What OpenAI shaped streams end with.
pub(super) const DONE: &[u8] = b"[DONE]";

/// Whether a text may tell of tokens; cheaper than reading it.
pub(super) fn may_tell(text: &[u8]) -> bool {
    contains(text, b"\"usage\":{") || contains(text, b"\"usage\": {") || contains(text, b"eval_count")
}

/// Whether a document of a stream holds a token, or a part of a call of a tool.
pub(super) fn is_token(document: &Value) -> bool {
    let is_text = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let choice = document.get("choices").and_then(|choices| choices.get(0));
    let delta = choice.and_then(|choice| choice.get("delta"));
    let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
    let openai = delta.is_some_and(|delta| {
        ["content", "reasoning_content", "refusal"].into_iter().any(|name| is_text(delta.get(name)))
            || delta.get("tool_calls").is_some_and(Value::is_array)
    }) || is_text(choice.and_then(|choice| choice.get("text")));
    let typed = kind == "content_block_delta" || (kind.starts_with("response.") && kind.ends_with(".delta"));
    let ollama = is_text(document.get("response")) || is_text(document.pointer("/message/content"));
    openai || typed || ollama
}

pub(super) fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}
