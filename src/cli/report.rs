//! `pointsman report`: whether the candidate of a route is better, and how sure that is.
//!
//! The gateway judges; here its report is only written: as a table, Markdown, one HTML file, or JSON.

mod html;
mod markdown;
mod table;

use std::process::ExitCode;

use super::client::AdminArgs;
use super::output;
use crate::domain::experiment::report::{
    Decision, Difference, MetricReport, Range, Report, Severity, Shadowed, Verdict,
};
use crate::domain::experiment::words::{figure, percent};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route.
    pub route: String,
    /// Print the plan alone: how long an effect takes, and which one shows when.
    #[arg(long)]
    pub plan: bool,
    /// Print JSON.
    #[arg(long, group = "form")]
    pub json: bool,
    /// Print Markdown.
    #[arg(long, group = "form")]
    pub markdown: bool,
    /// Print one HTML file that needs no other.
    #[arg(long, group = "form")]
    pub html: bool,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";

/// Shows the report.
///
/// # Errors
/// If the gateway cannot be asked, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name: String = form_urlencoded::byte_serialize(args.route.as_bytes()).collect();
    let report: Report = args.admin.client()?.get(&format!("/api/v1/routes/{name}/experiment"))?;
    if args.json {
        let whole = serde_json::to_value(&report)?;
        output::write_json(if args.plan { &whole["plan"] } else { &whole })?;
    } else if args.markdown {
        output::write(&markdown::written(&report, args.plan))?;
    } else if args.html {
        output::write(&html::written(&report, args.plan))?;
    } else {
        output::write(&table::written(&report, args.plan))?;
    }
    Ok(if report.decision == Decision::Distrust { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

const fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Ship => "ship the candidate",
        Decision::Keep => "keep control",
        Decision::Wait => "wait",
        Decision::Distrust => "do not trust it",
        Decision::NoQuestion => "nothing to decide",
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoWorse => "no worse",
        Verdict::Undecided => "not decided",
        Verdict::Unknown => "unknown",
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Alarm => "alarm",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A number with the metric's unit.
fn amount(metric: &MetricReport, number: Option<f64>) -> String {
    match number {
        None => NOTHING.to_owned(),
        Some(number) if metric.unit.is_empty() => figure(number),
        Some(number) => format!("{} {}", figure(number), metric.unit),
    }
}

/// The relative difference, or the absolute one where there is none.
fn change(metric: &MetricReport) -> String {
    match (&metric.relative, &metric.difference) {
        (Some(relative), _) => percent(relative.value),
        (None, Some(difference)) => amount(metric, Some(difference.value)),
        (None, None) => NOTHING.to_owned(),
    }
}

/// An interval of the relative difference, or of the absolute one where there is none.
fn interval(metric: &MetricReport, of: impl Fn(&Difference) -> Option<Range>) -> String {
    if let Some(Range { lower, upper }) = metric.relative.as_ref().and_then(&of) {
        return format!("{} to {}", percent(lower), percent(upper));
    }
    match metric.difference.as_ref().and_then(&of) {
        Some(Range { lower, upper }) => format!("{} to {}", figure(lower), amount(metric, Some(upper))),
        None => NOTHING.to_owned(),
    }
}

/// What was asked and seen, as rows of a name and a value.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let time = |at: &Option<jiff::Timestamp>| at.map_or_else(|| NOTHING.to_owned(), |at| at.to_string());
    let arm = |of: fn(&Report) -> [f64; 2]| {
        let [control, candidate] = of(report);
        format!("control {control:.0}, candidate {candidate:.0}")
    };
    let mut rows = vec![
        ("route", report.route.clone()),
        ("time", format!("{} to {}", time(&report.first), time(&report.last))),
        ("users", arm(|report| [report.control.users, report.candidate.users])),
        ("users with an answer", arm(|report| [report.control.users_measured, report.candidate.users_measured])),
        ("randomised requests", arm(|report| [report.control.requests, report.candidate.requests])),
        ("left out", arm(|report| [report.control.left_out, report.candidate.left_out])),
        ("false alarms", format!("{} over the whole run", percent(report.alpha).trim_start_matches('+'))),
    ];
    if let Some(Shadowed { pairs, win_rate }) = &report.shadow {
        let share = |share: f64| format!("{:.1} %", share * 100.0);
        let won = win_rate.map_or_else(String::new, |of| {
            format!(", candidate won {} ({} to {})", share(of.rate), share(of.low), share(of.high))
        });
        let judged = pairs.wins + pairs.losses + pairs.ties;
        rows.push(("pairs in shadow", format!("{judged} judged, {} ties{won}", pairs.ties)));
    }
    rows
}

/// The plan in sentences.
fn plan(report: &Report) -> Vec<String> {
    let Some(plan) = &report.plan else {
        return vec!["There is no plan yet: it needs ten minutes of randomised traffic in both arms, and a metric that is not zero."
            .to_owned()];
    };
    let effect = percent(report.effect);
    let mut lines = vec![
        format!("By {}, at {} users a day and the present split:", plan.metric, figure(plan.users_per_day)),
        format!(
            "A difference of {} would show now, at one look.",
            percent(plan.detectable_now).trim_start_matches('+')
        ),
        format!(
            "{effect} takes {} users or {} days at one look; looking all the time at most {} users or {} days.",
            figure(plan.users_fixed_horizon),
            figure(plan.days_fixed_horizon),
            figure(plan.users_always_valid),
            figure(plan.days_always_valid)
        ),
        format!("This split costs {} times as many users as halves.", figure(plan.split_penalty)),
    ];
    let shows = plan
        .detectable
        .iter()
        .map(|later| format!("After {} days {} shows.", later.days, percent(later.relative).trim_start_matches('+')));
    let splits =
        plan.splits.iter().map(|split| format!("With {} % it takes {} days.", split.percent, figure(split.days)));
    lines.extend(shows.chain(splits));
    lines
}

#[cfg(test)]
mod tests;
