//! Both answers beside each other: for people a table, the begin of both bodies and what differs, else JSON.
//!
//! Bodies come from backends: what a terminal would obey in them is taken out.

use serde_json::{Value, json};
use similar::TextDiff;

use super::answer::{Answer, Pricing};
use crate::cli::output;
use crate::domain::Arm;
use crate::domain::reading::Tokens;

/// Lines and characters of a body that are shown.
const SHOWN_LINES: usize = 20;
const SHOWN_WIDTH: usize = 160;
/// Lines of a body that are compared, and lines of the difference that are shown.
const COMPARED_LINES: usize = 5_000;
const DIFF_LINES: usize = 200;
/// Equal lines around what differs.
const AROUND: usize = 2;
/// Characters of a body in JSON.
const JSON_CHARS: usize = 1 << 20;

/// What came of asking one arm.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) arm: Arm,
    pub(super) answer: Result<Answer, String>,
    /// Of the backend that served, if they are configured.
    pub(super) pricing: Option<Pricing>,
}

impl Tried {
    /// Whether this arm itself answered 2xx, as far as the gateway tells who answered.
    pub(super) fn is_well(&self) -> bool {
        self.answer.as_ref().is_ok_and(|answer| answer.status.is_success() && self.is_own(answer) && !answer.cut)
    }

    /// What the answer cost, with its currency.
    fn cost(&self) -> Option<(f64, &str)> {
        let pricing = self.pricing.as_ref()?;
        Some((self.answer.as_ref().ok()?.cost(pricing)?, pricing.currency.as_str()))
    }

    fn is_own(&self, answer: &Answer) -> bool {
        answer.served.as_deref().is_none_or(|served| served == self.arm.as_str())
    }

    fn notes(&self) -> Vec<String> {
        let arm = self.arm;
        let Ok(answer) = &self.answer else { return Vec::new() };
        let mut notes = Vec::new();
        match (&answer.served, &answer.reason) {
            (None, _) => notes.push(format!("{arm}: the gateway does not tell who served (`expose`, trusted_proxies)")),
            (Some(served), reason) if *served != arm.as_str() => {
                let reason = reason.as_deref().unwrap_or("no reason told");
                notes.push(format!("{arm} did not answer itself: {served} served, {reason}"));
            }
            (Some(_), _) => {}
        }
        if answer.cut {
            notes.push(format!("{arm}: the body is longer than what is kept of it"));
        }
        match (answer.tokens(), &self.pricing) {
            (Some(_), None) => notes.push(format!("{arm}: cost is not configured ([backends.NAME.prices])")),
            (None, Some(_)) => notes.push(format!("{arm}: the answer tells no tokens, so its cost is not known")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        notes
    }
}

/// A body as lines that can be compared and shown.
fn lines(answer: &Answer) -> Option<String> {
    match answer.json() {
        Some(value) => Some(format!("{value:#}\n")),
        None => std::str::from_utf8(&answer.body).ok().map(str::to_owned),
    }
}

/// Without what a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn all_notes(tried: &[Tried; 2]) -> Vec<String> {
    tried.iter().flat_map(Tried::notes).collect()
}

/// What differs between the bodies, line by line; `None` where one is no text, or is not there.
fn difference(tried: &[Tried; 2]) -> Option<Vec<String>> {
    let [one, other] = tried.each_ref().map(|tried| tried.answer.as_ref().ok().and_then(lines));
    let bounded = |text: String| text.split_inclusive('\n').take(COMPARED_LINES).collect::<String>();
    let (one, other) = (bounded(one?), bounded(other?));
    let diff = TextDiff::from_lines(&one, &other);
    let mut unified = diff.unified_diff();
    let text = unified.context_radius(AROUND).missing_newline_hint(false).header("control", "candidate").to_string();
    Some(harmless(&text).lines().map(str::to_owned).collect())
}

/// For people.
pub(super) fn told(route: &str, tried: &[Tried; 2]) -> String {
    let header = ["arm", "served by", "reason", "status", "first byte", "total", "bytes", "tokens", "cost"];
    let mut text = format!("route {route}\n{}", output::table(&header, tried.iter().map(row)));
    for Tried { arm, answer, .. } in tried {
        text += &match answer {
            Ok(answer) => format!("\n--- {arm}\n{}", begin(answer)),
            Err(error) => format!("\n--- {arm}: {}\n", harmless(error)),
        };
    }
    text += &match difference(tried) {
        None => "\nthe bodies cannot be compared line by line\n".to_owned(),
        Some(lines) if lines.is_empty() => "\nthe bodies are equal\n".to_owned(),
        Some(lines) => {
            let shown: String = lines.iter().take(DIFF_LINES).map(|line| format!("{}\n", narrow(line))).collect();
            let more = lines.len().saturating_sub(DIFF_LINES);
            let more = if more > 0 { format!("... {more} more lines differ\n") } else { String::new() };
            format!("\nwhat differs\n{shown}{more}")
        }
    };
    let notes: String = all_notes(tried).iter().map(|note| format!("note: {}\n", harmless(note))).collect();
    if notes.is_empty() { text } else { format!("{text}\n{notes}") }
}

fn row(tried: &Tried) -> Vec<String> {
    const NOTHING: &str = "-";
    let Ok(answer) = &tried.answer else {
        let mut row = vec![tried.arm.to_string()];
        row.resize(9, NOTHING.to_owned());
        return row;
    };
    let or_nothing = |text: &Option<String>| text.as_deref().map_or_else(|| NOTHING.to_owned(), harmless);
    let millis = |length: std::time::Duration| format!("{:.1} ms", length.as_secs_f64() * 1_000.0);
    vec![
        tried.arm.to_string(),
        or_nothing(&answer.served),
        or_nothing(&answer.reason),
        answer.status.as_u16().to_string(),
        millis(answer.first_byte),
        millis(answer.total),
        answer.body.len().to_string(),
        answer.tokens().map_or_else(|| NOTHING.to_owned(), tokens),
        tried.cost().map_or_else(|| NOTHING.to_owned(), |(cost, currency)| format!("{cost:.6} {}", harmless(currency))),
    ]
}

/// `12 + 34 = 46`, with what was told of it.
fn tokens(tokens: Tokens) -> String {
    let count = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let Tokens { input, output } = tokens;
    let total = input.zip(output).map(|(input, output)| input.saturating_add(output));
    format!("{} + {} = {}", count(input), count(output), count(total))
}

/// The first lines of a body.
fn begin(answer: &Answer) -> String {
    let Some(text) = lines(answer) else { return format!("{} bytes that are no text\n", answer.body.len()) };
    let text = harmless(&text);
    let mut shown: String = text.lines().take(SHOWN_LINES).map(|line| format!("{}\n", narrow(line))).collect();
    let more = text.lines().count().saturating_sub(SHOWN_LINES);
    if more > 0 {
        shown += &format!("... {more} more lines\n");
    }
    if shown.is_empty() { "no body\n".to_owned() } else { shown }
}

fn narrow(line: &str) -> String {
    match line.char_indices().nth(SHOWN_WIDTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// For programs.
pub(super) fn as_json(route: &str, tried: &[Tried; 2]) -> Value {
    let arms: Vec<_> = tried.iter().map(arm_json).collect();
    json!({
        "route": route,
        "ok": tried.iter().all(Tried::is_well),
        "arms": arms,
        "diff": difference(tried).map(|lines| lines.into_iter().take(DIFF_LINES).collect::<Vec<_>>()),
        "notes": all_notes(tried),
    })
}

fn arm_json(tried: &Tried) -> Value {
    match &tried.answer {
        Err(error) => json!({ "arm": tried.arm, "error": error }),
        Ok(answer) => {
            let text = std::str::from_utf8(&answer.body).ok();
            let (tokens, cost) = (answer.tokens(), tried.cost());
            json!({
                "arm": tried.arm,
                "served": answer.served,
                "reason": answer.reason,
                "request_id": answer.request_id,
                "status": answer.status.as_u16(),
                "first_byte_ms": answer.first_byte.as_secs_f64() * 1_000.0,
                "total_ms": answer.total.as_secs_f64() * 1_000.0,
                "bytes": answer.body.len(),
                "cut": answer.cut,
                "input_tokens": tokens.and_then(|tokens| tokens.input),
                "output_tokens": tokens.and_then(|tokens| tokens.output),
                "cost": cost.map(|(cost, _)| cost),
                "currency": cost.map(|(_, currency)| currency),
                "body": text.map(|text| text.chars().take(JSON_CHARS).collect::<String>()),
            })
        }
    }
}
