//! What is wrong with a configuration: every mistake with its place, for people and for programs.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::node::{Origin, position};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it is probably not what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it was typed.
    pub origin: Origin,
    /// The key path, for example `routes.answers.rollout.percent`; empty for mistakes of syntax.
    pub path: String,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub help: String,
    /// Bytes of the source that must not be shown: secrets.
    pub hidden: Vec<Range<usize>>,
}

/// A mistake, for programs.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "Diagnostic")]
pub struct Told {
    severity: Severity,
    /// The file, or `default`.
    source: String,
    /// From 1; `null` for what was not typed.
    line: Option<usize>,
    /// From 1.
    column: Option<usize>,
    /// Bytes of the source.
    span: Option<[usize; 2]>,
    /// The key path; empty for mistakes of syntax.
    key: String,
    /// What was found.
    message: String,
    /// What would be right.
    help: String,
}

/// Why there is no configuration: at least one error, warnings among them, in the order of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The mistakes.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.diagnostics, Style::Plain))
    }
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without escape sequences.
    Plain,
    /// With the colours of a terminal.
    Coloured,
}

impl Diagnostic {
    /// The name of the source, or `default`.
    #[must_use]
    pub fn source(&self) -> &str {
        match &self.origin {
            Origin::Default => "default",
            Origin::Source { source, .. } => &source.name,
        }
    }

    /// Line and column, both from 1, if it was typed somewhere.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        match &self.origin {
            Origin::Default => None,
            Origin::Source { source, span } => Some(position(&source.text, span.start)),
        }
    }

    /// `file:line:column`, with as much of it as there is.
    #[must_use]
    pub fn place_text(&self) -> String {
        self.place()
            .map_or_else(|| self.source().to_owned(), |(line, column)| format!("{}:{line}:{column}", self.source()))
    }

    /// For programs: `severity`, `source`, `line`, `column`, `span`, `key`, `message`, `help`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self.told())
    }

    /// For programs.
    #[must_use]
    pub fn told(&self) -> Told {
        let place = self.place();
        let span = match &self.origin {
            Origin::Default => None,
            Origin::Source { span, .. } => Some([span.start, span.end]),
        };
        Told {
            severity: self.severity,
            source: self.source().to_owned(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            span,
            key: self.path.clone(),
            message: self.found.clone(),
            help: self.help.clone(),
        }
    }

    /// For people: the message, the line with a caret, and what would be right.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = if self.path.is_empty() { self.found.clone() } else { format!("{}: {}", self.path, self.found) };
        let title = annotate_snippets::normalize_untrusted_str(&title);
        let help = annotate_snippets::normalize_untrusted_str(&self.help);
        let mut group = Group::with_title(level.primary_title(&title));
        let text = self.shown_text();
        if let Origin::Source { source, span } = &self.origin {
            let annotation = AnnotationKind::Primary.span(clip(&text, span));
            group = group.element(Snippet::source(&text).path(source.name.as_str()).annotation(annotation));
        }
        if !help.is_empty() {
            group = group.element(Level::HELP.message(&help));
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        renderer.render(&[group])
    }

    /// The text of the source with stars in place of secrets, byte for byte.
    fn shown_text(&self) -> String {
        let Origin::Source { source, .. } = &self.origin else { return String::new() };
        let mut bytes = source.text.clone().into_bytes();
        for byte in self.hidden.iter().filter_map(|span| clamp(span, source.text.len())).flatten() {
            if let Some(byte) = bytes.get_mut(byte).filter(|byte| **byte != b'\n') {
                *byte = b'*';
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn clamp(span: &Range<usize>, length: usize) -> Option<Range<usize>> {
    (span.start <= length).then(|| span.start..span.end.clamp(span.start, length))
}

/// The part of a span on its first line, moved to borders of characters.
fn clip(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    let length = text.get(start..end).and_then(|part| part.find(['\n', '\r'])).unwrap_or(end - start);
    start..start + length
}

/// All messages, one after the other, each with an empty line behind it.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], style: Style) -> String {
    diagnostics.iter().map(|diagnostic| diagnostic.render(style) + "\n\n").collect()
}

/// In the order of places; what is said twice is said once.
pub(super) fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by_cached_key(|diagnostic| {
        (diagnostic.source().to_owned(), diagnostic.place(), diagnostic.path.clone(), diagnostic.found.clone())
    });
    diagnostics.dedup();
}

/// ``did you mean `x`? `` for the name most like `word`, if one is like it at all.
pub(super) fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// Below this Jaro-Winkler similarity a guess confuses more than it helps.
    const LIKE: f64 = 0.75;
    let word = word.to_lowercase();
    let (likeness, name) = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, name), name))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= LIKE).then(|| format!("did you mean `{name}`? "))
}
