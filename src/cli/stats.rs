//! `pointsman stats`: how the arms of a running gateway fared over a stretch of time, as `/api/v1/stats` tells it.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::Value;

use super::client::AdminArgs;
use super::moment::moment;
use super::output;
use crate::admin::stats::{ArmStats, MetricStats, Stats};

/// Where nobody says how long.
const DEFAULT_WINDOW: &str = "1h";
/// What stands where there is nothing to tell.
const NOTHING: &str = "-";
/// A step of this many seconds is an hour.
const HOUR: i64 = 3_600;

const HEADER: [&str; 13] = [
    "route",
    "arm",
    "requests",
    "success",
    "average",
    "p50",
    "p95",
    "p99",
    "first byte p50",
    "first byte p95",
    "attempts",
    "failed",
    "fallbacks",
];

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// This route alone.
    #[arg(long)]
    pub route: Option<String>,
    /// The stretch's length up to its end: 15m, 1h, 7d; an hour where --start does not say where it begins.
    #[arg(long, value_name = "LENGTH", conflicts_with = "start")]
    pub window: Option<String>,
    /// Where it begins: 2026-11-20T08:00:00Z, or how long ago: 90m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub start: Option<Timestamp>,
    /// Where it ends; now by default.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub end: Option<Timestamp>,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Shows how the arms fared.
///
/// # Errors
/// If the gateway cannot be asked, does not know the route, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let page: Value = args.admin.client()?.get(&format!("/api/v1/stats?{}", query(args)))?;
    if args.json {
        output::write_json(&page)?;
    } else {
        output::write(&told(&serde_json::from_value(page)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn query(args: &Args) -> String {
    let window = match args.start {
        Some(_) => None,
        None => Some(args.window.clone().unwrap_or_else(|| DEFAULT_WINDOW.to_owned())),
    };
    let (start, end) = (args.start.map(|time| time.to_string()), args.end.map(|time| time.to_string()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("route", args.route.clone()), ("window", window), ("start", start), ("end", end)] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}

fn told(stats: &Stats) -> String {
    let (mut rows, mut metrics) = (Vec::new(), Vec::new());
    for (route, arms) in &stats.routes {
        for (arm, figures) in [("control", &arms.control), ("candidate", &arms.candidate)] {
            rows.push(row(route, arm, figures));
            metrics.extend(figures.metrics.iter().map(|(name, metric)| metric_row(route, arm, name, metric)));
        }
    }
    let mut told = output::table(&HEADER, rows);
    if !metrics.is_empty() {
        told += "\n";
        told += &output::table(&["route", "arm", "metric", "kind", "count", "sum", "mean", "unit"], metrics);
    }
    let step = if stats.step_seconds == HOUR { "hour" } else { "minute" };
    let (start, end) = (stats.start, stats.end);
    told + &format!(
        "{start} to {end}, to the {step}; times in ms; by the arm that served, failed attempts by the arm tried\n"
    )
}

fn row(route: &str, arm: &str, figures: &ArmStats) -> Vec<String> {
    let ArmStats { requests, success_rate, fallbacks, latency, first_byte, attempts, attempt_error_rate, .. } = figures;
    let share =
        |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), |share| format!("{:.2} %", share * 100.0));
    let millis = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), |millis| format!("{millis:.1}"));
    let times = [latency.mean, latency.p50, latency.p95, latency.p99, first_byte.p50, first_byte.p95];
    let begin = [route.to_owned(), arm.to_owned(), requests.to_string(), share(*success_rate)];
    let end = [attempts.to_string(), share(*attempt_error_rate), fallbacks.to_string()];
    begin.into_iter().chain(times.map(millis)).chain(end).collect()
}

fn metric_row(route: &str, arm: &str, name: &str, metric: &MetricStats) -> Vec<String> {
    let MetricStats { kind, unit, count, sum, mean } = metric;
    let number = |value: f64| {
        // Six digits are more than a person looks at, and hide what adding up left behind.
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let mean = mean.map_or_else(|| NOTHING.to_owned(), number);
    [route, arm, name, kind]
        .map(str::to_owned)
        .into_iter()
        .chain([number(*count), number(*sum), mean, unit.clone()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn a_window_or_a_start_says_where_it_begins() {
        let rows: [(&[&str], &str); 4] = [
            (&[], "window=1h"),
            (&["--window", "7d", "--route", "a&b"], "route=a%26b&window=7d"),
            (&["--start", "2026-11-20T08:00:00Z"], "start=2026-11-20T08%3A00%3A00Z"),
            (&["--end", "2026-11-20T08:00:00Z"], "window=1h&end=2026-11-20T08%3A00%3A00Z"),
        ];
        for (arguments, expected) in rows {
            let cli = Cli::parse_from(["pointsman", "stats"].iter().chain(arguments));
            let Command::Stats(args) = cli.command else { panic!("{arguments:?}") };
            assert_eq!(query(&args), expected);
        }
        let both = ["pointsman", "stats", "--window", "1h", "--start", "1h"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    #[test]
    fn unknown_is_a_dash_and_numbers_are_short() {
        let row = row("r", "control", &ArmStats { requests: 3, success_rate: Some(2.0 / 3.0), ..ArmStats::default() });
        assert_eq!(row[..5], ["r", "control", "3", "66.67 %", "-"]);
        assert_eq!(row.len(), HEADER.len());
        let metric = MetricStats { kind: "value".into(), unit: "USD".into(), count: 2.0, sum: 0.1 + 0.2, mean: None };
        assert_eq!(metric_row("r", "control", "cost", &metric)[4..], ["2", "0.3", "-", "USD"]);
    }
}
