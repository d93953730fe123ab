//! `[routes.NAME.rewrite.ARM]`: templates and merge patches, compiled.

use serde_json::Value as Json;

use crate::config::model::ArmRewrite;
use crate::config::node::{Node, Origin, Value};
use crate::config::view::View;
use crate::domain::Arm;
use crate::domain::condition::Slot;
use crate::domain::rewrite::{Body, Mistake, Side, Template};

use super::condition::Conditions;
use super::route;

/// What both arms are sent and answer, by [`Arm::index`], and the slots that their templates mention.
pub(super) type Arms = ([Option<Box<ArmRewrite>>; 2], Box<[Slot]>);

pub(super) fn arms(view: &View<'_>, conditions: &Conditions<'_>) -> Option<Arms> {
    let mut slots = Vec::new();
    let built = Arm::ALL.map(|arm| of(&view.table(arm.as_str()), conditions, &mut slots));
    slots.sort_unstable();
    slots.dedup();
    let [control, candidate] = built;
    Some(([control?, candidate?], slots.into_boxed_slice()))
}

/// The outer `None` is a mistake, the inner one an arm of which nothing is rewritten.
fn of(view: &View<'_>, conditions: &Conditions<'_>, slots: &mut Vec<Slot>) -> Option<Option<Box<ArmRewrite>>> {
    let (request, response) = (view.table("request"), view.table("response"));
    let template = template(&request, Side::Request, conditions, slots);
    let merge = merge(&request);
    let answer = self::template(&response, Side::Response, conditions, slots);
    let headers = route::header_changes(&request.table("headers"));
    let path = request.request_path("path");
    let rewrite = ArmRewrite { path, headers, body: Body { template: template?, merge: merge? }, answer: answer? };
    let changes_nothing = rewrite == ArmRewrite::default();
    Some((!changes_nothing).then(|| Box::new(rewrite)))
}

fn template(
    view: &View<'_>,
    side: Side,
    conditions: &Conditions<'_>,
    slots: &mut Vec<Slot>,
) -> Option<Option<Template>> {
    let Some(node) = view.node("template") else { return Some(None) };
    let source = view.json("template")?;
    if !matches!(source, Json::String(_) | Json::Object(_) | Json::Array(_)) {
        let help = "expected a string that is a JSON document, or a table of texts";
        view.error("template", format!("found {}", node.describe()), help);
        return None;
    }
    let template = match Template::compile(&source, side) {
        Ok(template) => template,
        Err(mistakes) => {
            for (pointer, mistake) in mistakes {
                report(view, descend(node, &pointer), &pointer, &mistake);
            }
            return None;
        }
    };
    let mut right = true;
    for mention in template.mentions() {
        match conditions.mentioned(mention) {
            Ok(mentioned) => slots.extend(mentioned),
            Err((found, help)) => {
                view.error("template", found, help);
                right = false;
            }
        }
    }
    right.then_some(Some(template))
}

/// A string is JSON text: TOML has no `null`, which takes a field away.
fn merge(view: &View<'_>) -> Option<Option<Json>> {
    let Some(node) = view.node("json_merge") else { return Some(None) };
    let patch = match (view.json("json_merge")?, node.as_text()) {
        (Json::String(_), Some(text)) => match serde_json::from_str(text) {
            Ok(patch) => patch,
            Err(error) => {
                view.error(
                    "json_merge",
                    format!("a string that is no JSON: {error}"),
                    "for example '{\"stop\": null}'",
                );
                return None;
            }
        },
        (patch, _) => patch,
    };
    if !patch.is_object() {
        let help = "expected a table: anything else would replace the whole body";
        view.error("json_merge", format!("found {}", node.describe()), help);
        return None;
    }
    Some(Some(patch))
}

/// The node that a pointer of [`Template::compile`] means.
fn descend<'n>(node: &'n Node, pointer: &str) -> &'n Node {
    pointer.split('/').skip(1).fold(node, |node, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        let below = match &node.value {
            Value::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Other(_)
            | Value::Table(_) => node.get(&step),
        };
        below.unwrap_or(node)
    })
}

fn report(view: &View<'_>, node: &Node, pointer: &str, mistake: &Mistake) {
    let within = if pointer.is_empty() { String::new() } else { format!(" of {pointer}") };
    let found = format!("line {}, column {}{within}: {}", mistake.line, mistake.column, mistake.found);
    let place = exact(node, mistake.byte).unwrap_or_else(|| node.origin.clone());
    view.error_at(&place, "template", found, &mistake.help);
}

/// The place in the file of a byte of a string; none if the string was typed with escapes or variables.
fn exact(node: &Node, byte: usize) -> Option<Origin> {
    let Origin::Source { source, span } = &node.origin else { return None };
    let start = span.start + source.text.get(span.clone())?.find(node.as_text()?)? + byte;
    let end = source.text.get(start..span.end)?.chars().next().map_or(start, |letter| start + letter.len_utf8());
    Some(Origin::Source { source: std::sync::Arc::clone(source), span: start..end })
}
