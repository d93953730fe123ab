//! `pointsman test`: whether users get the arms that they are expected to get, for CI.
//!
//! Answers come from the file, the candidate's health assumed well.

pub(super) mod cases;

use std::process::ExitCode;

use serde_json::json;

use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::admin::explain::{Explanation, from_file};
use crate::admin::question::Question;
use crate::config::report::{Diagnostic, render};
use crate::config::{Loaded, load};
use cases::Case;

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file with the cases: `[[case]]` with `route`, `key`, `expect`, and optionally `reason`, `override` and `attributes`.
    pub cases: std::path::PathBuf,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What came of one case.
struct Outcome<'a> {
    case: &'a Case,
    found: Explanation,
    right: bool,
}

/// Tests. Exit code 0: all as expected, 1: some are not, 2: mistakes in one of the files.
///
/// # Errors
/// If the env file cannot be read, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = load(&args.source.sources()?, None).map_err(|report| report.diagnostics);
    let cases = cases::read(&args.cases, loaded.as_ref().ok().map(|loaded| &loaded.config));
    let (loaded, cases) = match (loaded, cases) {
        (Ok(loaded), Ok(cases)) => (loaded, cases),
        (loaded, cases) => {
            let mistakes = [loaded.err(), cases.err()].into_iter().flatten().flatten().collect();
            return refuse(args, mistakes);
        }
    };
    let outcomes: Vec<_> = cases.iter().filter_map(|case| outcome(&loaded, case)).collect();
    let right = outcomes.iter().all(|outcome| outcome.right);
    if args.json {
        output::write_json(&as_json(&outcomes))?;
    } else {
        output::write(&told(&outcomes))?;
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(args: &Args, mistakes: Vec<Diagnostic>) -> anyhow::Result<ExitCode> {
    if args.json {
        let diagnostics: Vec<_> = mistakes.iter().map(Diagnostic::to_json).collect();
        output::write_json(&json!({ "ok": false, "diagnostics": diagnostics }))?;
    } else {
        output::note(&render(&mistakes, output::note_style()))?;
    }
    Ok(ExitCode::from(MISTAKES))
}

/// `None` for a route or an attribute that is not there, which reading the cases has refused.
fn outcome<'a>(loaded: &Loaded, case: &'a Case) -> Option<Outcome<'a>> {
    let question = Question {
        route: case.route.clone(),
        key: case.key.clone(),
        override_arm: case.override_arm,
        pin: None,
        attributes: case.attributes.clone(),
    };
    let found = from_file(loaded, &question).ok()?;
    let right = found.served == case.expect && case.reason.is_none_or(|reason| found.reason == reason);
    Some(Outcome { case, found, right })
}

fn told(outcomes: &[Outcome<'_>]) -> String {
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| !outcome.right).collect();
    let summary = format!("{} case(s), {} wrong\n", outcomes.len(), wrong.len());
    if wrong.is_empty() {
        return summary;
    }
    let rows = wrong.into_iter().map(|Outcome { case, found, .. }| {
        let because = |reason: Option<&str>| reason.map_or_else(String::new, |reason| format!(" by {reason}"));
        vec![
            case.place.clone(),
            case.route.clone(),
            case.key.clone().unwrap_or_default(),
            format!("{}{}", case.expect, because(case.reason.map(|reason| reason.as_str()))),
            format!("{}{}", found.served, because(Some(found.reason.as_str()))),
        ]
    });
    output::table(&["case", "route", "key", "expected", "found"], rows) + &summary
}

fn as_json(outcomes: &[Outcome<'_>]) -> serde_json::Value {
    let cases: Vec<_> = outcomes
        .iter()
        .map(|Outcome { case, found, right }| {
            json!({
                "place": case.place,
                "route": case.route,
                "key": case.key,
                "expected": case.expect,
                "expected_reason": case.reason,
                "found": found.served,
                "reason": found.reason,
                "ok": right,
            })
        })
        .collect();
    let wrong = outcomes.iter().filter(|outcome| !outcome.right).count();
    json!({ "ok": wrong == 0, "total": cases.len(), "wrong": wrong, "cases": cases })
}

#[cfg(test)]
mod tests;
