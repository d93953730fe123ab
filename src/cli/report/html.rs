//! The report as one HTML file: no script, nothing that is fetched, plots as inline SVG.

use super::table::reach;
use super::{NOTHING, amount, change, decision, facts, interval, plan, severity, verdict};
use crate::domain::experiment::report::{MetricReport, Range, Report};
use crate::domain::experiment::words::figure;

/// Of a plot, in its own units.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 26.0;

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:76rem;margin:2rem auto;padding:0 1rem}\
h1{margin-bottom:0}.decision{font-size:1.4rem;font-weight:600;margin:.3rem 0}\
table{border-collapse:collapse;margin:1rem 0}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top;border-bottom:1px solid #8884}\
td.number{text-align:right;font-variant-numeric:tabular-nums}\
svg{display:block}.zero{stroke:#8888;stroke-width:1}.always{stroke:#3b82f6;stroke-width:2}\
.fixed{stroke:#3b82f6;stroke-width:8;opacity:.45}.point{fill:#1d4ed8}.margin{stroke:#dc2626;stroke-width:2;stroke-dasharray:3 2}\
.better,.no-worse{color:#15803d}.worse,.alarm{color:#dc2626}.warning{color:#b45309}\
.small{font-size:.85rem;opacity:.8}";

pub(super) fn written(report: &Report, plan_only: bool) -> String {
    let name = escaped(&report.name);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{name}</h1>\n"
    );
    if !plan_only {
        text += &judged(report);
    }
    text += "<h2>Plan</h2>\n<ul>\n";
    text.extend(plan(report).iter().map(|line| format!("<li>{}</li>\n", escaped(line))));
    text + "</ul>\n</body>\n</html>\n"
}

fn judged(report: &Report) -> String {
    let mut text =
        format!("<p class=\"decision\">{}</p>\n<p>{}</p>\n<ul>\n", decision(report.decision), escaped(&report.summary));
    text.extend(report.waiting_for.iter().map(|waiting| format!("<li>{}</li>\n", escaped(waiting))));
    text += "</ul>\n<table>\n";
    text.extend(
        facts(report).iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(value))),
    );
    text += "</table>\n<table>\n<tr><th>metric</th><th>control</th><th>candidate</th><th>change</th><th>interval</th><th>verdict</th></tr>\n";
    let reach = reach(report);
    text.extend(report.metrics.iter().map(|metric| row(metric, reach)));
    text += &format!(
        "</table>\n<p class=\"small\">Plots: the relative change, from -{0} % to +{0} %. Thin line: right at every look. \
         Thick line: right for one look that was planned beforehand. Dashed: the margin of a guard.</p>\n",
        figure(reach * 100.0)
    );
    if !report.findings.is_empty() {
        text += "<h2>Health</h2>\n<ul>\n";
        for finding in &report.findings {
            let told = [&finding.what, &finding.meaning, &finding.action].map(|text| escaped(text)).join(" ");
            let word = severity(finding.severity);
            text += &format!("<li><strong class=\"{word}\">{word}</strong>: {told}</li>\n");
        }
        text += "</ul>\n";
    }
    text
}

fn row(metric: &MetricReport, reach: f64) -> String {
    let word = verdict(metric.verdict);
    format!(
        "<tr><td>{}<br><span class=\"small\">{}</span></td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
         <td class=\"number\">{}</td><td>{}<span class=\"small\">{}</span></td>\
         <td><strong class=\"{}\">{word}</strong><br><span class=\"small\">{}</span></td></tr>\n",
        escaped(&metric.name),
        escaped(&metric.role),
        escaped(&amount(metric, metric.control)),
        escaped(&amount(metric, metric.candidate)),
        escaped(&change(metric)),
        plot(metric, reach).unwrap_or_else(|| NOTHING.to_owned()),
        escaped(&interval(metric, |one| one.always_valid)),
        word.replace(' ', "-"),
        escaped(&metric.words),
    )
}

/// Both intervals on one line with zero in the middle.
fn plot(metric: &MetricReport, reach: f64) -> Option<String> {
    let relative = metric.relative.as_ref()?;
    let place = |at: f64| ((at / reach.max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0) + 1.0) * WIDTH / 2.0;
    let middle = HEIGHT / 2.0;
    let line = |class: &str, Range { lower, upper }: Range| {
        let (from, to) = (place(lower), place(upper));
        format!("<line class=\"{class}\" x1=\"{from:.1}\" y1=\"{middle}\" x2=\"{to:.1}\" y2=\"{middle}\"/>")
    };
    let upright = |class: &str, at: f64| {
        let at = place(at);
        format!("<line class=\"{class}\" x1=\"{at:.1}\" y1=\"2\" x2=\"{at:.1}\" y2=\"{}\"/>", HEIGHT - 2.0)
    };
    let margin = metric.margin.filter(|margin| margin.relative > 0.0 && margin.relative <= reach);
    let worse = if metric.better == "lower" { 1.0 } else { -1.0 };
    let parts = [
        upright("zero", 0.0),
        margin.map(|margin| upright("margin", worse * margin.relative)).unwrap_or_default(),
        relative.always_valid.map(|range| line("always", range)).unwrap_or_default(),
        relative.fixed_horizon.map(|range| line("fixed", range)).unwrap_or_default(),
        format!("<circle class=\"point\" cx=\"{:.1}\" cy=\"{middle}\" r=\"4\"/>", place(relative.value)),
    ];
    let label = escaped(&format!("{}: {}", metric.name, interval(metric, |one| one.always_valid)));
    Some(format!(
        "<svg role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">{}</svg>",
        parts.concat()
    ))
}

/// A text that is no markup, in content and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
