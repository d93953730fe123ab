//! The report as Markdown, for issues and wikis.

use super::{amount, change, decision, facts, interval, plan, severity, verdict};
use crate::domain::experiment::report::Report;

pub(super) fn written(report: &Report, plan_only: bool) -> String {
    let mut text = format!("# {}\n\n", escaped(&report.name));
    if !plan_only {
        text += &judged(report);
    }
    text += "## Plan\n\n";
    text.extend(plan(report).iter().map(|line| format!("- {}\n", escaped(line))));
    text
}

fn judged(report: &Report) -> String {
    let mut text = format!("**{}**: {}\n\n", decision(report.decision), escaped(&report.summary));
    text.extend(report.waiting_for.iter().map(|waiting| format!("- {}\n", escaped(waiting))));
    text += "\n| | |\n|---|---|\n";
    text.extend(facts(report).iter().map(|(name, value)| format!("| {name} | {} |\n", escaped(value))));
    text += "\n| metric | role | control | candidate | change | at every look | at one look | verdict |\n|---|---|---|---|---|---|---|---|\n";
    for metric in &report.metrics {
        let cells = [
            metric.name.clone(),
            metric.role.clone(),
            amount(metric, metric.control),
            amount(metric, metric.candidate),
            change(metric),
            interval(metric, |one| one.always_valid),
            interval(metric, |one| one.fixed_horizon),
            format!("{}: {}", verdict(metric.verdict), metric.words),
        ];
        text += &format!("| {} |\n", cells.map(|cell| escaped(&cell)).join(" | "));
    }
    text.push('\n');
    if !report.findings.is_empty() {
        text += "## Health\n\n";
    }
    for finding in &report.findings {
        let told = [&finding.what, &finding.meaning, &finding.action].map(|text| escaped(text)).join(" ");
        text += &format!("- **{}**: {told}\n", severity(finding.severity));
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    text
}

/// A text that is no markup and stays in its cell.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '~') {
            escaped.push('\\');
        }
        escaped.push(if letter.is_control() { ' ' } else { letter });
    }
    escaped
}
