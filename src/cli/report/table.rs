//! The report for a terminal, with intervals as bars.

use super::super::output;
use super::{NOTHING, amount, change, decision, facts, interval, plan, severity, verdict};
use crate::domain::experiment::report::{MetricReport, Range, Report};
use crate::domain::experiment::words::figure;
use crate::domain::guard::Verdict;

/// Letters of a bar; odd, so that zero is in the middle.
const WIDTH: usize = 31;

pub(super) fn written(report: &Report, plan_only: bool) -> String {
    if plan_only {
        return plan(report).join("\n") + "\n";
    }
    let mut text = format!("{}: {}\n{}\n", plain(&report.name), decision(report.decision), plain(&report.summary));
    text.extend(report.waiting_for.iter().map(|waiting| format!("  - {}\n", plain(waiting))));
    let met = report.conditions.iter().filter(|of| of.finding.verdict == Verdict::Holds);
    text.extend(met.map(|of| format!("  + {}: holds\n", plain(&of.condition))));
    text.push('\n');
    text += &output::table(&["", ""], facts(report).into_iter().map(|(name, value)| vec![name.to_owned(), value]));
    text.push('\n');
    let reach = reach(report);
    text += &output::table(
        &["metric", "role", "control", "candidate", "change", "at every look", "worse or less < 0 > more", "verdict"],
        report.metrics.iter().map(|metric| row(metric, reach)),
    );
    if reach > 0.0 {
        text += &format!("bars: relative change, valid at every look, from -{0} % to +{0} %\n", figure(reach * 100.0));
    }
    text += &quantiles(report);
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        text +=
            &format!("{}: {}\n  {}\n  {}\n", severity(finding.severity), finding.what, finding.meaning, finding.action);
    }
    text
}

fn row(metric: &MetricReport, reach: f64) -> Vec<String> {
    let relative = metric.relative.as_ref();
    let bar = relative.and_then(|one| one.always_valid.map(|range| bar(one.value, range, reach)));
    vec![
        plain(&metric.name),
        metric.role.clone(),
        amount(metric, metric.control),
        amount(metric, metric.candidate),
        change(metric),
        interval(metric, |one| one.always_valid),
        bar.unwrap_or_else(|| NOTHING.to_owned()),
        verdict(metric.verdict).to_owned(),
    ]
}

/// How far bars reach: to the farthest end of an interval, but not to those that say nothing.
pub(super) fn reach(report: &Report) -> f64 {
    let ends = report.metrics.iter().filter_map(|metric| {
        let relative = metric.relative.as_ref()?;
        let range = relative.always_valid?;
        Some(range.lower.abs().max(range.upper.abs()).min(1.0))
    });
    ends.fold(0.0, f64::max)
}

/// `[---o---]` on a line with zero in the middle; `<` and `>` where it goes on.
pub(super) fn bar(value: f64, range: Range, reach: f64) -> String {
    let half = (WIDTH / 2) as f64;
    let place =
        |at: f64| (at / reach.max(f64::MIN_POSITIVE) * half).round().clamp(-half, half) as isize + half as isize;
    let (low, high) = (place(range.lower), place(range.upper));
    let letter = |at: isize| match at {
        _ if at == place(value) => 'o',
        _ if at == low => {
            if range.lower < -reach {
                '<'
            } else {
                '['
            }
        }
        _ if at == high => {
            if range.upper > reach {
                '>'
            } else {
                ']'
            }
        }
        _ if at == half as isize => '|',
        _ if at > low && at < high => '-',
        _ => ' ',
    };
    (0..WIDTH as isize).map(letter).collect()
}

fn quantiles(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .metrics
        .iter()
        .flat_map(|metric| {
            metric.quantiles.iter().map(|found| {
                let range = found.difference.fixed_horizon;
                vec![
                    format!("{} p{}", plain(&metric.name), figure(found.quantile * 100.0).trim_end_matches(".0")),
                    amount(metric, Some(found.control)),
                    amount(metric, Some(found.candidate)),
                    amount(metric, Some(found.difference.value)),
                    range.map_or_else(
                        || NOTHING.to_owned(),
                        |range| format!("{} to {}", figure(range.lower), amount(metric, Some(range.upper))),
                    ),
                ]
            })
        })
        .collect();
    let slow = report.metrics.iter().filter_map(|metric| Some((metric, metric.slower.as_ref()?)));
    let slow = slow.map(|(metric, found)| {
        let share = |share: f64| format!("{:.2} %", share * 100.0);
        let range = found
            .difference
            .always_valid
            .map(|range| format!("; at every look {} to {}", share(range.lower), share(range.upper)));
        let than = amount(metric, Some(found.than));
        format!(
            "slower than {than} ({}): control {}, candidate {}{}\n",
            plain(&metric.name),
            share(found.control),
            share(found.candidate),
            range.unwrap_or_default()
        )
    });
    let rest: String = slow.chain(report.metrics.iter().filter_map(same_quantiles)).collect();
    if rows.is_empty() {
        return rest;
    }
    format!("\n{}{rest}", output::table(&["quantile", "control", "candidate", "difference", "at one look"], rows))
}

/// Whether quantiles are the same, if requests were independent.
fn same_quantiles(metric: &MetricReport) -> Option<String> {
    let tested = metric.by_request.as_ref().map(|by_request| &by_request.quantiles)?;
    let told = tested.iter().map(|of| {
        let name = figure(of.quantile * 100.0);
        format!("p{} p = {}", name.trim_end_matches(".0"), figure(of.p_always_valid))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        let name = plain(&metric.name);
        format!("{name}, same quantiles, as if requests were independent, at every look: {}\n", told.join(", "))
    })
}

/// Without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
