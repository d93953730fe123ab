//! Conditions of guards and gates: what their words mean.

use crate::config::model::{Asks, Baseline, Condition, Figure, Guard, Metric, MetricIndex, MetricRef, Test};
use crate::config::node::{Node, Origin};
use crate::config::report::did_you_mean;
use crate::config::view::View;
use crate::domain::guard::{
    self, Action, Against, CALLED, Comparison, Expression, Limit, Mistake, Quantity, Statistic, Unit,
};
use crate::domain::metric::{BuiltIn, Kind};

/// Guards of a route.
const MAX_GUARDS: usize = 50;

/// The guards of a route, in the order of their names.
pub(super) fn all(view: &View<'_>, metrics: &[Metric]) -> Option<Vec<Guard>> {
    let guards = view.named("guards");
    if guards.len() > MAX_GUARDS {
        view.error("guards", format!("{} guards", guards.len()), format!("a route has at most {MAX_GUARDS}"));
    }
    super::all(guards.iter().map(|(name, view)| one(name, view, metrics)))
}

fn one(name: &str, view: &View<'_>, metrics: &[Metric]) -> Option<Guard> {
    let condition = view.node("when").and_then(|node| condition(view, "when", node, metrics));
    let confident = condition.as_ref().and_then(Condition::figure).is_some_and(|figure| figure.confidence.is_some());
    if confident {
        view.error("when", "`at` in a guard", "`test = \"sequential\"` asks for confidence; `at` is for gates");
    }
    let test = condition.as_ref().and_then(|condition| test(view, condition, metrics));
    let baseline = condition.as_ref().zip(test).and_then(|(condition, test)| baseline(view, condition, test));
    Some(Guard {
        name: name.into(),
        condition: condition.filter(|_| !confident)?,
        window: view.duration("window")?,
        hold_for: view.duration("for")?,
        min_samples: view.integer("min_samples")?,
        action: view.word("then").and_then(Action::parse)?,
        test: test?,
        on_no_data: view.duration("on_no_data")?,
        baseline: baseline?,
    })
}

fn baseline(view: &View<'_>, condition: &Condition, test: Test) -> Option<Baseline> {
    if view.word("baseline")? != "frozen" {
        return Some(Baseline::Live);
    }
    let accumulates = |figure: &Figure| figure.statistic.accumulates() || figure.statistic == Statistic::PerUser;
    let (found, help) = match (test, condition.figure()) {
        (Test::Sequential { .. }, _) => {
            ("a baseline of a sequential test", "it looks at the whole run, and at each stretch beside its own control")
        }
        (Test::Threshold, Some(figure)) if condition.compares() && accumulates(figure) => {
            let help =
                "rates, means and quantiles have one; a ratio such as messages for each request can stand for it";
            ("a baseline of what grows with time and traffic", help)
        }
        (Test::Threshold, _) if !condition.compares() => (
            "a baseline of what is not compared",
            "it belongs to a condition with `control`, such as `latency > control`",
        ),
        (Test::Threshold, _) => return Some(Baseline::Frozen),
    };
    view.error("baseline", found, help);
    None
}

fn test(view: &View<'_>, condition: &Condition, metrics: &[Metric]) -> Option<Test> {
    let is_sequential = view.word("test")? == "sequential";
    let margin = view.text("margin");
    match (is_sequential, margin, condition.figure()) {
        (false, None, _) => Some(Test::Threshold),
        (false, Some(_), _) => {
            view.error("margin", "`margin` without a test", "it belongs to `test = \"sequential\"`");
            None
        }
        (true, _, None) => {
            view.error("test", "a sequential test of a state", "it needs a figure, such as `error_rate > control`");
            None
        }
        (true, None, Some(_)) => {
            let help = "add `margin`, the difference that would be of no concern, for example margin = \"1%\"";
            view.error("test", "a sequential test without `margin`", help);
            None
        }
        (true, Some(text), Some(figure)) => {
            if !matches!(figure.statistic, Statistic::Rate | Statistic::Mean) {
                let help = "only rates and means have one; a share of slow requests can stand for a quantile";
                view.error("test", format!("a sequential test of {}", figure.statistic.as_str()), help);
                return None;
            }
            // A quantity by itself is read by the same grammar as in a condition.
            let read = guard::parse(&format!("x > {text}"));
            let quantity = match read {
                Ok(Expression::Comparison(Comparison { against: Against::Number(quantity), .. })) => Some(quantity),
                _ => None,
            };
            let number = quantity.and_then(|quantity| number(quantity, figure.metric, figure.statistic, metrics).ok());
            if number.is_none_or(|number| number <= 0.0) {
                view.error(
                    "margin",
                    format!("found {text:?}"),
                    "expected a quantity above 0 such as 1%, 0.05 or 200ms",
                );
            }
            Some(Test::Sequential { margin: number.filter(|number| *number > 0.0)? })
        }
    }
}

/// A list of conditions that must hold: of a stage, or for shipping.
pub(super) fn gates(view: &View<'_>, key: &str, metrics: &[Metric]) -> Option<Vec<Condition>> {
    super::all(view.items(key).into_iter().map(|node| {
        let condition = condition(view, key, node, metrics)?;
        let figure = condition.figure();
        let has_test = figure.is_none_or(|figure| {
            figure.confidence.is_none() || matches!(figure.statistic, Statistic::Rate | Statistic::Mean)
        });
        if !has_test {
            view.error_at(&node.origin, key, "`at` with a statistic that has no test", "rates and means have one");
        }
        has_test.then_some(condition)
    }))
}

fn condition(view: &View<'_>, key: &str, node: &Node, metrics: &[Metric]) -> Option<Condition> {
    let text = node.as_text()?;
    let refuse = |mistake: Mistake| -> Option<Condition> {
        view.error_at(&within(node, &mistake), key, mistake.found, mistake.help);
        None
    };
    let asks = match guard::parse(text) {
        Err(mistake) => return refuse(mistake),
        Ok(Expression::BreakerOpen) => Asks::BreakerOpen,
        Ok(Expression::QualityGateShut) => Asks::QualityGateShut,
        Ok(Expression::Comparison(comparison)) => match figure(&comparison, metrics) {
            Ok(figure) => Asks::Figure(figure),
            Err(mistake) => return refuse(mistake),
        },
    };
    Some(Condition { text: text.into(), asks })
}

/// The place of a mistake within a string, if the string is written as it is read.
fn within(node: &Node, mistake: &Mistake) -> Origin {
    let Origin::Source { source, span } = &node.origin else { return node.origin.clone() };
    let text = node.as_text().unwrap_or_default();
    let inner = span.start + 1..span.end.saturating_sub(1);
    if source.text.get(inner.clone()) != Some(text) {
        return node.origin.clone();
    }
    let span = inner.start + mistake.at.start..inner.start + mistake.at.end.max(mistake.at.start + 1);
    Origin::Source { source: source.clone(), span }
}

fn figure(comparison: &Comparison, metrics: &[Metric]) -> Result<Figure, Mistake> {
    let (name, at) = &comparison.metric;
    let called = CALLED.into_iter().find(|(called, ..)| called == name);
    let own = metrics.iter().position(|metric| *metric.name == **name);
    let (metric, fixed) = match (called, own, BuiltIn::parse(name)) {
        (Some((_, metric, fixed)), ..) => (MetricRef::BuiltIn(metric), fixed),
        (None, Some(index), _) => (MetricRef::Own(index), None),
        (None, None, Some(metric)) => (MetricRef::BuiltIn(metric), None),
        (None, None, None) => {
            let known = metrics.iter().map(|metric| &*metric.name).chain(CALLED.map(|(called, ..)| called));
            let guess = did_you_mean(name, known.chain(BuiltIn::ALL.map(BuiltIn::as_str))).unwrap_or_default();
            let help = format!(
                "{guess}expected a metric of the file, error_rate, latency, fallback_rate, or one of {}",
                BuiltIn::ALL.map(BuiltIn::as_str).join(", ")
            );
            return Err(Mistake { at: at.clone(), found: format!("there is no metric {name:?}"), help });
        }
    };
    let usual = fixed.unwrap_or_else(|| usual(metric, metrics));
    let statistic = comparison.statistic.as_ref().map_or(usual, |(statistic, _)| *statistic);
    if let Some((statistic, at)) = &comparison.statistic
        && !has(metric, *statistic, metrics)
    {
        let help = "quantiles are kept of latency, first_byte and attempt_latency; a ratio has only its mean; \
                    `rate` is of what happens or not";
        let found = format!("{name:?} has no {}", statistic.as_str());
        return Err(Mistake { at: at.clone(), found, help: help.to_owned() });
    }
    let number = |quantity| {
        number(quantity, metric, statistic, metrics).map_err(|help| Mistake {
            at: at.clone(),
            found: format!("{quantity} beside {name}"),
            help,
        })
    };
    let limit = match comparison.against {
        Against::Number(quantity) => Limit::Number(number(quantity)?),
        Against::Control { factor, offset } if offset.number == 0.0 => Limit::OfControl { factor, offset: 0.0 },
        Against::Control { factor, offset } => Limit::OfControl { factor, offset: number(offset)? },
    };
    Ok(Figure { metric, statistic, comparator: comparison.comparator, limit, confidence: comparison.confidence })
}

fn kind_of(metric: MetricRef, metrics: &[Metric]) -> Kind {
    match metric {
        MetricRef::BuiltIn(metric) => metric.kind(),
        MetricRef::Own(index) => metrics.get(index).map_or(Kind::Value, |metric: &Metric| metric.kind),
    }
}

/// The statistic that is meant where none is named.
fn usual(metric: MetricRef, metrics: &[Metric]) -> Statistic {
    match (metric, kind_of(metric, metrics)) {
        (_, Kind::Occurrence) => Statistic::Rate,
        (MetricRef::BuiltIn(_), Kind::Count) => Statistic::Count,
        (_, Kind::Count | Kind::Value | Kind::Ratio) => Statistic::Mean,
    }
}

fn has(metric: MetricRef, statistic: Statistic, metrics: &[Metric]) -> bool {
    let kind = kind_of(metric, metrics);
    let is_time = matches!(metric, MetricRef::BuiltIn(metric) if metric.scale() != 1.0);
    match statistic {
        Statistic::P50 | Statistic::P95 | Statistic::P99 => is_time,
        Statistic::Rate => kind == Kind::Occurrence,
        Statistic::Mean => true,
        Statistic::Sum | Statistic::Count | Statistic::PerHour | Statistic::PerUser => kind != Kind::Ratio,
    }
}

/// A quantity as the metric is told: times of the gateway in milliseconds, others in their own unit.
fn number(quantity: Quantity, metric: MetricRef, statistic: Statistic, metrics: &[Metric]) -> Result<f64, String> {
    let counts = matches!(statistic, Statistic::Count | Statistic::Rate)
        || (kind_of(metric, metrics) == Kind::Occurrence && statistic != Statistic::Mean);
    let unit = match metric {
        _ if counts => "",
        MetricRef::BuiltIn(metric) if metric.scale() != 1.0 => "ms",
        MetricRef::BuiltIn(_) => "",
        MetricRef::Own(index) => unit_of(metrics, index),
    };
    match (quantity.unit, unit) {
        (Unit::Time, "ms") => Ok(quantity.number),
        (Unit::Time, "s") => Ok(quantity.number / 1_000.0),
        (Unit::Time, _) => Err("a time is for latencies, and for metrics whose `unit` is \"ms\" or \"s\"".to_owned()),
        (Unit::Plain, "ms") if matches!(metric, MetricRef::BuiltIn(_)) => {
            Err(format!("a time needs a unit: {0}ms or {0}s", quantity.number))
        }
        (Unit::Plain | Unit::Percent, _) => Ok(quantity.number),
    }
}

fn unit_of(metrics: &[Metric], index: MetricIndex) -> &str {
    metrics.get(index).map_or("", |metric| &metric.unit)
}
