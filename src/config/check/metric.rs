//! `[metrics.NAME]`: what is measured, and where it is read.

use std::sync::Arc;

use crate::config::model::{EventSource, Metric, MetricRef, MetricSource, judge_event};
use crate::config::view::View;
use crate::domain::metric::{Better, BuiltIn, Kind, MAX_VALUES, Usage};
use crate::domain::pointer::Pointer;

/// Metrics of a file.
const MAX_METRICS: usize = 256;
/// Longest name of an event, in bytes.
pub(in crate::config) const MAX_EVENT_NAME: usize = 128;

/// Places that `from` can name; it names one.
const PLACES: [&str; 6] = ["response_header", "response_json", "event", "usage", "judge", "ratio"];
/// Places that differ by arm.
const ARM_PLACES: [&str; 3] = ["response_header", "response_json", "usage"];

/// Names that metrics refer to.
struct Known<'a> {
    metrics: &'a [&'a str],
    judges: &'a [&'a str],
}

pub(super) fn all(root: &View<'_>, metrics: &[(&str, View<'_>)], judges: &[&str]) -> Option<Vec<Metric>> {
    let names: Vec<&str> = metrics.iter().map(|(name, _)| *name).collect();
    let known = Known { metrics: &names, judges };
    if names.len() > MAX_METRICS {
        root.error("metrics", format!("{} metrics", names.len()), format!("a file has at most {MAX_METRICS}"));
    }
    let built = super::all(metrics.iter().map(|(name, view)| metric(name, view, &known)))?;
    let read = built.iter().filter(|metric| metric.sources.iter().any(is_in_band)).count();
    if read > MAX_VALUES {
        let help = format!("at most {MAX_VALUES} are read from answers; send the others as events");
        root.error("metrics", format!("{read} metrics are read from answers"), help);
        return None;
    }
    no_circles(metrics, &built)?;
    Some(built)
}

fn metric(name: &str, view: &View<'_>, known: &Known<'_>) -> Option<Metric> {
    if BuiltIn::parse(name).is_some() {
        view.error("", format!("the gateway measures {name:?} itself"), "choose another name");
    }
    let kind = view.word("kind").and_then(Kind::parse);
    let better = match view.word("better") {
        Some("higher") => Some(Better::Higher),
        Some("lower") => Some(Better::Lower),
        Some(_) | None => None,
    };
    let sources = kind.and_then(|kind| sources(&view.table("from"), (name, kind), known));
    let tags = view.items("tags").into_iter().filter_map(|node| node.as_text().map(str::to_owned)).collect();
    Some(Metric {
        name: Arc::from(name),
        kind: kind?,
        description: view.text("description")?.to_owned(),
        unit: view.text("unit")?.to_owned(),
        tags,
        better: better?,
        sources: sources?,
    })
}

fn sources(from: &View<'_>, metric: (&str, Kind), known: &Known<'_>) -> Option<[MetricSource; 2]> {
    let arms = ["control", "candidate"].map(|arm| from.optional_table(arm));
    let of_arm = arms.map(|view| view.map(|view| one(&view, metric, known, &ARM_PLACES)));
    let common = PLACES.into_iter().any(|place| from.is_typed(place)) || of_arm.iter().any(Option::is_none);
    let both = if common { Some(one(from, metric, known, &PLACES)?) } else { None };
    let [control, candidate] = of_arm.map(|arm| match arm {
        Some(source) => source,
        None => both.clone(),
    });
    Some([control?, candidate?])
}

fn one(view: &View<'_>, (name, kind): (&str, Kind), known: &Known<'_>, places: &[&str]) -> Option<MetricSource> {
    let count = places.iter().filter(|place| view.is_typed(place)).count();
    if count != 1 {
        let list = places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", ");
        view.error("", format!("a metric with {count} places"), format!("it is read from one of {list}"));
        return None;
    }
    let is_ratio = view.is_typed("ratio");
    if is_ratio != (kind == Kind::Ratio) {
        let help = r#"`kind = "ratio"` and `from = { ratio = ["errors", "requests"] }` belong together"#;
        view.error("", format!("the kind {:?} from another place", kind.as_str()), help);
        return None;
    }
    if !view.is_typed("judge") && view.is_typed("score") {
        view.error("score", "`score` without `judge`", "it says which score of the judge counts");
    }
    if !view.is_typed("event") {
        for key in ["value", "where"].into_iter().filter(|key| view.is_typed(key)) {
            view.error(key, format!("`{key}` without `event`"), "it says which part of an event counts");
        }
    }
    view.header_name("response_header")
        .map(MetricSource::Header)
        .or_else(|| pointer(view, "response_json").map(MetricSource::Json))
        .or_else(|| view.word("usage").and_then(Usage::parse).map(MetricSource::Usage))
        .or_else(|| if is_ratio { ratio(view, known.metrics) } else { None })
        .or_else(|| judge(view, name, known.judges).map(MetricSource::Event))
        .or_else(|| event(view, kind).map(MetricSource::Event))
}

/// Verdicts are events, so a score is a number of an event.
fn judge(view: &View<'_>, metric: &str, judges: &[&str]) -> Option<EventSource> {
    let judge = super::reference(view, "judge", "judge", judges)?;
    let score = view.text("score").unwrap_or(metric);
    let value = Pointer::parse(&format!("/data/scores/{}", score.replace('~', "~0").replace('/', "~1"))).ok();
    if value.is_none() || score.is_empty() {
        view.error("score", "a name that is empty or too long", r#"the name of a score, for example "quality""#);
    }
    Some(EventSource { name: judge_event(judges[judge]).into(), value: Some(value?), filter: Vec::new() })
}

fn pointer(view: &View<'_>, key: &str) -> Option<Pointer> {
    let text = view.text(key)?;
    match Pointer::parse(text) {
        Ok(pointer) => Some(pointer),
        Err(mistake) => {
            view.error(key, format!("found {text:?}"), format!("{mistake}; for example `/score`"));
            None
        }
    }
}

fn event(view: &View<'_>, kind: Kind) -> Option<EventSource> {
    let name = view.text("event")?;
    if name.is_empty() || name.len() > MAX_EVENT_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = format!("an event's name has 1 to {MAX_EVENT_NAME} visible characters");
        view.error("event", format!("found {name:?}"), help);
        return None;
    }
    if kind == Kind::Value && !view.is_typed("value") {
        view.error("", "a value from an event without `value`", r#"for example value = "/value""#);
        return None;
    }
    let value = if view.is_typed("value") { Some(pointer(view, "value")?) } else { None };
    let filter = match view.json("where") {
        None => Vec::new(),
        Some(serde_json::Value::Object(fields)) => {
            fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
        }
        Some(_) => {
            view.error("where", "not a table", "expected fields of the event's data: { success = true }");
            return None;
        }
    };
    Some(EventSource { name: name.into(), value, filter })
}

fn ratio(view: &View<'_>, names: &[&str]) -> Option<MetricSource> {
    let parts = view.items("ratio");
    let [over, under] = parts.as_slice() else {
        view.error("ratio", format!("{} metrics", parts.len()), r#"expected two: ["errors", "requests"]"#);
        return None;
    };
    let [over, under] = [over, under].map(|node| {
        let name = node.as_text()?;
        let own = names.iter().position(|other| *other == name).map(MetricRef::Own);
        let found = own.or_else(|| BuiltIn::parse(name).map(MetricRef::BuiltIn));
        if found.is_none() {
            let built_in = BuiltIn::ALL.map(BuiltIn::as_str);
            let known = names.iter().copied().chain(built_in);
            let guess = crate::config::report::did_you_mean(name, known).unwrap_or_default();
            let help = format!("{guess}expected a metric of the file, or one of {}", built_in.join(", "));
            view.error_at(&node.origin, "ratio", format!("there is no metric {name:?}"), help);
        }
        found
    });
    Some(MetricSource::Ratio([over?, under?]))
}

/// A cost that nobody can compute is always unknown.
pub(super) fn costs_without_prices(metrics: &[(&str, View<'_>)], backends: &[(&str, View<'_>)]) {
    if backends.iter().any(|(_, backend)| backend.is_typed("prices")) {
        return;
    }
    for (_, metric) in metrics {
        let from = metric.table("from");
        let arms = ["control", "candidate"].into_iter().filter_map(|arm| from.optional_table(arm));
        for view in std::iter::once(from.clone()).chain(arms).filter(|view| view.text("usage") == Some("cost")) {
            view.warning("usage", "no backend has `prices`", "add [backends.NAME.prices], or the cost stays unknown");
        }
    }
}

/// Whether it is read from an answer as it passes.
const fn is_in_band(source: &MetricSource) -> bool {
    matches!(source, MetricSource::Header(_) | MetricSource::Json(_) | MetricSource::Usage(_))
}

/// A ratio is made of what is measured: ratios of ratios have no sums to be made of.
fn no_circles(views: &[(&str, View<'_>)], metrics: &[Metric]) -> Option<()> {
    let mut fine = Some(());
    for ((_, view), metric) in views.iter().zip(metrics) {
        let MetricSource::Ratio(parts) = &metric.sources[0] else { continue };
        let of_ratio = |part: &MetricRef| matches!(part, MetricRef::Own(index) if metrics[*index].kind == Kind::Ratio);
        if parts.iter().any(of_ratio) {
            view.table("from").error("ratio", "a ratio of a ratio", "name metrics that are measured");
            fine = None;
        }
    }
    fine
}
