//! `pointsman rollout`: where a rollout stands, and the verbs that move it.

mod stages;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::AdminArgs;
use super::output;
use crate::controller::rollout::View;
use crate::domain::guard::Verdict;
use crate::domain::rollout::spelled;

/// Arguments of `rollout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `show`, `report` (each stage so far, and what ended it), or what to do: start, pause, resume, approve, promote, jump, step_back, rollback, restart, disable,
    /// enable.
    pub verb: String,
    /// The route.
    pub route: String,
    /// The stage, for `jump`.
    pub stage: Option<String>,
    /// Why; it stands in the history. Needed for everything but `show`, `report` and a dry run.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only tell what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// Do nothing if the rollout has another version than this one.
    #[arg(long)]
    pub version: Option<u64>,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print what the gateway answers, as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Deserialize)]
struct Told {
    result: String,
    rollout: View,
}

/// Shows or moves a rollout.
///
/// # Errors
/// If the gateway cannot be asked or refuses, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/routes/{}/rollout", utf8_percent_encode(&args.route, NON_ALPHANUMERIC));
    let client = args.admin.client()?;
    if args.verb == "report" {
        let stretches = stages::of(&client, &args.route)?;
        if args.json {
            output::write_json(&serde_json::to_value(&stretches)?)?;
        } else {
            output::write(&stages::shown(&stretches))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (answer, result): (Value, Option<String>) = if args.verb == "show" {
        (client.get(&path)?, None)
    } else {
        let reason = match (&args.reason, args.dry_run) {
            (Some(reason), _) => reason.as_str(),
            (None, true) => "dry run",
            (None, false) => bail!("say why: --reason \"...\"; it stands in the history"),
        };
        let wanted = json!({ "verb": args.verb, "stage": args.stage, "reason": reason, "version": args.version,
            "dry_run": args.dry_run });
        let answer: Value = client.post(&path, &wanted)?;
        let result = Told::deserialize(&answer)?.result;
        (answer, Some(result))
    };
    if args.json {
        output::write_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let view = match &result {
        Some(_) => Told::deserialize(&answer)?.rollout,
        None => View::deserialize(&answer)?,
    };
    let word = match result.as_deref() {
        Some("already") => "it was so already\n",
        Some("would") => "this would be so\n",
        _ => "",
    };
    output::write(&format!("{word}{}", shown(&view)))?;
    Ok(ExitCode::SUCCESS)
}

/// A rollout for people.
#[must_use]
pub fn shown(view: &View) -> String {
    let mut text = format!("{}: {}\n", view.route, headline(view));
    if let Some(why) = &view.why {
        text += &format!("  why       {why}\n");
    }
    if let Some(note) = &view.by {
        text += &format!("  by        {}: {}\n", note.actor, note.reason);
    }
    for wait in &view.report.waits {
        let left = wait.about.map(|seconds| spelled(Duration::from_secs(seconds)));
        let about = left.map(|left| format!(" (about {left} left)")).unwrap_or_default();
        text += &format!("  waits for {}{about}\n", wait.what);
    }
    if !view.guards.is_empty() {
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"));
        let rows = view.guards.iter().map(|guard| {
            let verdict = match guard.finding.verdict {
                Verdict::Holds => format!("regressed for {:.0} of {:.0} s", guard.breached_seconds, guard.for_seconds),
                Verdict::Fails => "fine".to_owned(),
                Verdict::NotEnoughData => "not enough data".to_owned(),
            };
            let figures = [number(guard.finding.found), number(guard.finding.limit)];
            let samples = format!("{:.0}", guard.finding.samples);
            let [found, limit] = figures;
            vec![guard.name.clone(), guard.when.clone(), guard.then.as_str().to_owned(), found, limit, samples, verdict]
        });
        text += &output::table(&["guard", "when", "then", "found", "limit", "samples", "verdict"], rows);
    }
    text
}

/// One line: state, stage, share.
#[must_use]
pub fn headline(view: &View) -> String {
    let mut line = view.state.clone();
    if let (Some(stage), Some(number)) = (&view.stage, view.stage_number) {
        line += &format!(", stage {stage} ({number} of {})", view.stages);
    }
    line += &format!(", {} % of users", view.percent);
    if let Some(seen) = view.percent_seen {
        line += &format!(" ({seen:.1} % of requests)");
    }
    if let Some(shadow) = view.shadow.filter(|shadow| *shadow > 0.0) {
        line += &format!(", {shadow} % in shadow");
    }
    if view.disabled {
        line += ", disabled";
    }
    if !view.stored {
        line += ", NOT STORED";
    }
    line + &format!(", run {}, version {}", view.run, view.version)
}
