//! What is told of a run: a table for people, JSON for programs.

use serde_json::{Map, Value, json};

use super::args::Args;
use super::plan::Plan;
use super::run::Ran;
use super::tally::{Figures, Group, millis};
use super::threshold::Verdict;
use crate::cli::output;

const HEADER: [&str; 11] =
    ["arm", "queries", "users", "average", "p50", "p95", "p99", "cost", "per query", "score", "success"];

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";

/// The table, what failed and how, and what came of the conditions.
pub(super) fn told(ran: &Ran, verdicts: &[Verdict]) -> String {
    let groups = Group::ALL.iter().map(|group| (group.as_str(), ran.sums.group(*group)));
    let rows = groups.filter(|(_, figures)| figures.queries > 0).chain([("total", &ran.sums.total)]);
    let mut told = output::table(&HEADER, rows.map(|(name, figures)| row(name, figures)));
    let total = &ran.sums.total;
    told += &format!(
        "{:.1} queries a second for {:.1} s; times in ms from when a query was due, {:.1} ms late at most\n",
        total.rate,
        ran.length.as_secs_f64(),
        millis(ran.behind)
    );
    if total.errors > 0 {
        let endings = ran.sums.endings.iter().map(|(name, count)| format!("{count} {name}"));
        told += &format!("endings: {}\n", endings.collect::<Vec<_>>().join(", "));
    }
    if let Some(failure) = &ran.last_failure {
        told += &format!("last failure: {failure}\n");
    }
    if let Some(events) = &ran.events {
        let because = events.last_failure.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        told += &format!(
            "events: {} stored, {} failed{because}, {} left out, {} without exposure token\n",
            events.stored, events.failed, events.left_out, events.unattributed
        );
    }
    if ran.interrupted {
        told += &format!("interrupted; {} queries were not waited for\n", ran.unfinished);
    }
    for Verdict { fail_if, found, failed } in verdicts {
        let found = found.map_or_else(|| "nothing measured".to_owned(), |found| format!("{found:.4}"));
        told += &format!("{}: {fail_if} ({found})\n", if *failed { "FAILED" } else { "fine" });
    }
    told
}

fn row(name: &str, figures: &Figures) -> Vec<String> {
    let Figures {
        queries, users, average_ms, p50_ms, p95_ms, p99_ms, cost, cost_per_query, score, success_rate, ..
    } = figures;
    let number = |value: &Option<f64>, digits: usize| {
        value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.digits$}"))
    };
    vec![
        name.to_owned(),
        queries.to_string(),
        users.to_string(),
        number(average_ms, 2),
        number(p50_ms, 2),
        number(p95_ms, 2),
        number(p99_ms, 2),
        number(cost, 4),
        number(cost_per_query, 6),
        number(score, 3),
        success_rate.map_or_else(|| NOTHING.to_owned(), |share| format!("{:.2} %", share * 100.0)),
    ]
}

/// What `docs/traffic.md` describes.
pub(super) fn as_json(args: &Args, plan: &PlanFigures, ran: &Ran, verdicts: &[Verdict]) -> Value {
    let arms: Map<String, Value> =
        Group::ALL.iter().map(|group| (group.as_str().to_owned(), json!(ran.sums.group(*group)))).collect();
    json!({
        "url": args.url.text,
        "started": plan.started,
        "seconds": ran.length.as_secs_f64(),
        "interrupted": ran.interrupted,
        "asked": {
            "requests": plan.requests,
            "duration_seconds": args.load.duration.map(|length| length.as_secs_f64()),
            "rate": args.load.think.is_none().then_some(args.load.rate),
            "think_seconds": args.load.think.map(|length| length.as_secs_f64()),
            "ramp_seconds": args.load.ramp.as_secs_f64(),
            "concurrency": args.load.concurrency,
            "users": plan.users,
            "skew": args.asked.skew,
            "seed": args.asked.seed,
        },
        "behind_ms": millis(ran.behind),
        "unfinished": ran.unfinished,
        "total": ran.sums.total,
        "arms": arms,
        "endings": ran.sums.endings,
        "last_failure": ran.last_failure,
        "events": ran.events,
        "thresholds": verdicts,
    })
}

/// What is told of a plan that has been carried out.
#[derive(Debug)]
pub(super) struct PlanFigures {
    requests: Option<u64>,
    users: u32,
    started: String,
}

impl PlanFigures {
    pub(super) fn of(plan: &Plan, started: jiff::Timestamp) -> Self {
        Self { requests: plan.requests, users: plan.crowd.users(), started: started.to_string() }
    }
}
