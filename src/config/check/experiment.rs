//! `[routes.NAME.experiment]`.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::model::{Experiment, Metric, MetricRef};
use crate::config::view::View;
use crate::domain::experiment::{Margin, Settings};
use crate::domain::metric::BuiltIn;

use super::guard;

/// What the gateway measures of every randomised request, by the arm that was assigned.
const COMPARED: [BuiltIn; 4] = [BuiltIn::Errors, BuiltIn::Fallbacks, BuiltIn::Latency, BuiltIn::FirstByte];

pub(super) fn experiment(route: &str, view: &View<'_>, metrics: &[&str], measured: &[Metric]) -> Option<Experiment> {
    let ship = guard::gates(view, "ship", measured);
    let primary = view.text("primary").and_then(|name| metric(view, "primary", name, metrics));
    let guards: Vec<_> = view.named("guards").iter().map(|(name, guard)| guarded(name, guard, metrics)).collect();
    let (start, stop) = (moment(view, "start"), moment(view, "stop"));
    if let (Some(Some(start)), Some(Some(stop))) = (start, stop)
        && stop <= start
    {
        view.error("stop", "it is not after `start`", "an experiment ends after it began");
    }
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let settings = Settings {
        alpha: view.float("alpha")?,
        power: view.float("power")?,
        effect: view.float("effect")?,
        min_users: view.integer::<u32>("min_users").map(f64::from)?,
        min_duration: view.duration("min_duration").map(seconds)?,
        start: start?,
        stop: stop?,
    };
    let guards: Vec<(MetricRef, Margin)> = guards.into_iter().collect::<Option<_>>()?;
    if guards.iter().any(|(guard, _)| Some(*guard) == primary) {
        view.error("guards", "the primary metric is among them", "it decides by itself, so it needs no guard");
    }
    let name = view.text("name").unwrap_or(route).to_owned();
    Some(Experiment { name, primary: primary?, guards, ship: ship?, settings })
}

/// A moment that may be left out (inner) and may be mistaken (outer).
fn moment(view: &View<'_>, key: &str) -> Option<Option<i64>> {
    let Some(text) = view.text(key) else { return Some(None) };
    match text.parse::<Timestamp>() {
        Ok(time) => Some(Some(time.as_second())),
        Err(_) => {
            view.error(
                key,
                format!("found {text:?}"),
                r#"expected a time as RFC 3339 writes it: "2026-11-20T08:00:00Z""#,
            );
            None
        }
    }
}

fn guarded(name: &str, view: &View<'_>, metrics: &[&str]) -> Option<(MetricRef, Margin)> {
    let margin = Margin { relative: view.float("margin")?, absolute: view.float("absolute")? };
    if margin == Margin::default() {
        let help = "no difference at all cannot be shown: for example `margin = 0.1`, 10 % of control";
        view.error("", "a guard without a margin", help);
        return None;
    }
    Some((metric(view, "", name, metrics)?, margin))
}

fn metric(view: &View<'_>, key: &str, name: &str, metrics: &[&str]) -> Option<MetricRef> {
    let own = metrics.iter().position(|other| *other == name).map(MetricRef::Own);
    let built_in = COMPARED.into_iter().find(|metric| metric.as_str() == name).map(MetricRef::BuiltIn);
    let found = own.or(built_in);
    if found.is_none() {
        let known = metrics.iter().copied().chain(COMPARED.map(BuiltIn::as_str));
        let guess = crate::config::report::did_you_mean(name, known).unwrap_or_default();
        let list = COMPARED.map(BuiltIn::as_str).join(", ");
        let found = match BuiltIn::parse(name) {
            Some(_) => format!("{name:?} does not go by the arm that was assigned"),
            None => format!("there is no metric {name:?}"),
        };
        view.error(key, found, format!("{guess}expected a metric of the file, or one of {list}"));
    }
    found
}
