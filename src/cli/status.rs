//! `pointsman status`: how the routes of a running gateway fare, by arm, and where their rollouts stand.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, DEFAULT_ADMIN, TokenArgs};
use super::{output, rollout};
use crate::controller::rollout::View;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's admin address.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN)]
    pub admin: String,
    /// The token for it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Look again each second until it is interrupted, with what each guard sees.
    #[arg(long)]
    pub watch: bool,
}

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its upper left corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What is shown of `/api/v1/routes`.
#[derive(Debug, Deserialize)]
struct Page {
    generation: u64,
    routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
struct Route {
    name: String,
    control: Option<Arm>,
    candidate: Option<Arm>,
    policy: Policy,
    percent: f64,
    effective_percent: Option<f64>,
    quality_gate: Option<Gate>,
    shadow: Option<Shadow>,
    rollout: Option<View>,
    recent: Recent,
}

#[derive(Debug, Deserialize)]
struct Arm {
    backend: String,
    breaker: String,
}

#[derive(Debug, Deserialize)]
struct Policy {
    enabled: bool,
    forced: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Gate {
    position: String,
}

#[derive(Debug, Deserialize)]
struct Shadow {
    percent: f64,
    copies: u64,
    pairs: Pairs,
}

#[derive(Debug, Deserialize)]
struct Pairs {
    wins: u64,
    losses: u64,
    ties: u64,
    win_rate: Option<WinRate>,
}

#[derive(Debug, Deserialize)]
struct WinRate {
    rate: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Deserialize)]
struct Recent {
    window_seconds: u64,
    control: Figures,
    candidate: Figures,
}

#[derive(Debug, Deserialize)]
struct Figures {
    requests: u64,
    attempts: u64,
    failures: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    quality: Option<f64>,
}

const HEADER: [&str; 11] =
    ["route", "arm", "backend", "percent", "requests", "attempts", "errors", "p50", "p95", "quality", "state"];

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";

/// Shows the status.
///
/// # Errors
/// If the gateway cannot be asked, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut asked = Client::new(&args.admin, &args.token)?.get("/api/v1/routes")?;
    loop {
        show(args, asked)?;
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        // A gateway that starts again is waited for.
        asked = loop {
            std::thread::sleep(LOOK);
            match Client::new(&args.admin, &args.token)?.get("/api/v1/routes") {
                Ok(page) => break page,
                Err(error) => output::failure(&error),
            }
        };
    }
}

fn show(args: &Args, page: Value) -> anyhow::Result<()> {
    if args.json {
        // One line each, where there are many.
        let text = if args.watch { format!("{page}\n") } else { format!("{page:#}\n") };
        output::write(&text)?;
        return Ok(());
    }
    let page: Page = serde_json::from_value(page)?;
    let rollouts = page.routes.iter().filter_map(|route| route.rollout.as_ref());
    let rollouts: String = if args.watch {
        rollouts.map(rollout::shown).collect()
    } else {
        rollouts.map(|view| format!("{}: {}\n", view.route, rollout::headline(view))).collect()
    };
    let clear = if args.watch && std::io::stdout().is_terminal() { CLEAR } else { "" };
    Ok(output::write(&format!("{clear}{}{rollouts}", told(&page)))?)
}

fn told(page: &Page) -> String {
    let rows = page.routes.iter().flat_map(|route| [control(route), candidate(route)]);
    let table = output::table(&HEADER, rows);
    let window = page.routes.first().map_or(0, |route| route.recent.window_seconds);
    format!("{table}generation {}; figures of the last {window} s, times in ms of attempts\n", page.generation)
}

fn control(route: &Route) -> Vec<String> {
    row(route, "control", &route.control, &route.recent.control, String::new(), breaker(&route.control))
}

fn candidate(route: &Route) -> Vec<String> {
    let effective = route.effective_percent.map_or_else(|| NOTHING.to_owned(), |percent| format!("{percent:.1}"));
    let percent = format!("{} (got {effective})", route.percent);
    let mut state = breaker(&route.candidate);
    if let Some(gate) = &route.quality_gate {
        state += &format!(", gate {}", gate.position);
    }
    if let Some(shadow) = &route.shadow {
        state += &format!(", shadow {} % ({} copies{})", shadow.percent, shadow.copies, won(&shadow.pairs));
    }
    if !route.policy.enabled {
        state += ", disabled";
    }
    if let Some(arm) = &route.policy.forced {
        state += &format!(", forced to {arm}");
    }
    row(route, "candidate", &route.candidate, &route.recent.candidate, percent, state)
}

/// Wins among the pairs that a judge told apart, with their 95 % interval.
fn won(Pairs { wins, losses, ties, win_rate }: &Pairs) -> String {
    let Some(WinRate { rate, low, high }) = win_rate else { return String::new() };
    let percent = |share: f64| share * 100.0;
    let (rate, low, high) = (percent(*rate), percent(*low), percent(*high));
    format!("; wins {rate:.0} % ({low:.0} to {high:.0}) of {}, {ties} ties", wins + losses)
}

/// What a flag without a backend has is nothing that could break.
fn breaker(arm: &Option<Arm>) -> String {
    arm.as_ref().map_or_else(|| "flag".to_owned(), |arm| format!("breaker {}", arm.breaker))
}

fn row(route: &Route, name: &str, arm: &Option<Arm>, figures: &Figures, percent: String, state: String) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.digits$}"))
    };
    vec![
        route.name.clone(),
        name.to_owned(),
        arm.as_ref().map_or_else(|| NOTHING.to_owned(), |arm| arm.backend.clone()),
        percent,
        figures.requests.to_string(),
        figures.attempts.to_string(),
        figures.failures.to_string(),
        number(figures.p50_ms, 1),
        number(figures.p95_ms, 1),
        number(figures.quality, 3),
        state,
    ]
}
