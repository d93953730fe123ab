//! `pointsman diff`: what a file would change, before it does: who moves, and which evidence starts anew.
//!
//! It changes nothing. Both modes, against the running gateway and against another file, share
//! [`compare`], which is pure; the gateway tells arms and hashes, never a salt.

mod compare;
mod sides;
mod subjects;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, DEFAULT_ADMIN, TokenArgs};
use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::config::report::{Diagnostic, render};
use crate::config::{Loaded, load};
use compare::{Difference, Moved, RouteDifference, compare};
use subjects::Subjects;

/// Users that are made up unless told otherwise.
const SAMPLE: &str = "10000";
/// Most users that are made up.
const MAX_SAMPLE: i64 = 1_000_000;
/// Characters of a value in the table.
const SHOWN: usize = 60;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The changed configuration.
    pub file: PathBuf,
    /// The gateway's admin address.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN)]
    pub admin: String,
    /// The token for it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Compare with this file instead of the running gateway.
    #[arg(long, value_name = "OLD_FILE", conflicts_with = "admin")]
    pub offline: Option<PathBuf>,
    /// The table [profiles.NAME] to lay over the files; POINTSMAN_PROFILE by default.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Lines NAME=VALUE to lay over the environment: what the gateway has.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Real users: a key a line, JSON lines with key and attributes, or cases (.toml) as `test` takes them.
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// How many users to make up where none are given.
    #[arg(long, value_name = "N", default_value = SAMPLE, value_parser = clap::value_parser!(u32).range(1..=MAX_SAMPLE))]
    pub sample: u32,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Compares. Exit code 0: nothing changes, 1: something does, 2: mistakes in a file, or no comparison.
///
/// # Errors
/// None: what fails is told here, so that its exit code is not that of a difference.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    difference(args).or_else(|error| {
        output::failure(&error);
        Ok(ExitCode::from(MISTAKES))
    })
}

fn difference(args: &Args) -> anyhow::Result<ExitCode> {
    let mut mistakes = Vec::new();
    let new = kept(read(args, &args.file)?, &mut mistakes);
    let old = args.offline.as_ref().map(|path| read(args, path)).transpose()?;
    let old = old.map(|old| kept(old, &mut mistakes));
    let subjects = match &args.users {
        Some(path) => kept(Subjects::read(path)?, &mut mistakes),
        None => Some(Subjects::sampled(usize::try_from(args.sample)?)),
    };
    let (Some(new), Some(subjects)) = (new, subjects) else { return refuse(args, &mistakes) };
    let new = sides::of_file(&new, &subjects);
    let (old, against) = match old {
        Some(None) => return refuse(args, &mistakes),
        Some(Some(old)) => {
            (sides::of_file(&old, &subjects), args.offline.as_ref().map(|path| path.display().to_string()))
        }
        None => {
            let (side, generation) = sides::of_gateway(&Client::new(&args.admin, &args.token)?, &subjects, &new)?;
            (side, Some(format!("generation {generation} at {}", args.admin)))
        }
    };
    let against = against.unwrap_or_default();
    let difference = compare(&old, &new, subjects.are_sampled());
    if args.json {
        output::write_json(&as_json(&difference, &against, &subjects)?)?;
    } else {
        output::write(&told(&difference, &args.file.display().to_string(), &against, &subjects))?;
    }
    Ok(if difference.changes { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Read<T> = Result<T, Vec<Diagnostic>>;

fn read(args: &Args, path: &std::path::Path) -> anyhow::Result<Read<Loaded>> {
    let sources =
        SourceArgs { config: path.to_owned(), profile: args.profile.clone(), env_file: args.env_file.clone() };
    Ok(load(&sources.sources()?, None).map_err(|report| report.diagnostics))
}

/// What was read, or `None` with its mistakes put to the others.
fn kept<T>(read: Read<T>, mistakes: &mut Vec<Diagnostic>) -> Option<T> {
    read.map_err(|found| mistakes.extend(found)).ok()
}

fn refuse(args: &Args, mistakes: &[Diagnostic]) -> anyhow::Result<ExitCode> {
    if args.json {
        let diagnostics: Vec<_> = mistakes.iter().map(Diagnostic::to_json).collect();
        output::write_json(&json!({ "ok": false, "diagnostics": diagnostics }))?;
    } else {
        output::note(&render(mistakes, output::note_style()))?;
    }
    Ok(ExitCode::from(MISTAKES))
}

/// What no comparison of two configurations can see.
const UNSEEN: &str = "secrets are not compared, and variables are those of this environment (--env-file)";

fn as_json(difference: &Difference, against: &str, subjects: &Subjects) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(difference)?;
    value["against"] = json!(against);
    value["sampled"] = json!(subjects.are_sampled());
    value["notes"] = json!([UNSEEN]);
    Ok(value)
}

/// For people.
fn told(difference: &Difference, file: &str, against: &str, subjects: &Subjects) -> String {
    let mut text = format!("{file} against {against}\n");
    if !difference.changes {
        return text + &format!("nothing changes\nnote: {UNSEEN}\n");
    }
    for (what, names) in [("added", &difference.added), ("removed", &difference.removed)] {
        if !names.is_empty() {
            text += &format!("\nroutes {what}: {}\n", names.join(", "));
        }
    }
    for route in &difference.routes {
        text += &route_told(route, subjects);
    }
    if !difference.keys.is_empty() {
        let rows = difference.keys.iter().map(|key| vec![key.key.clone(), shown(&key.old), shown(&key.new)]);
        text += &format!("\n{}", output::table(&["key", "old", "new"], rows));
    }
    if !difference.restart_required.is_empty() {
        text += &format!("\nneeds a restart: {}\n", difference.restart_required.join(", "));
    }
    text + &format!("\nnote: {UNSEEN}\n")
}

fn route_told(route: &RouteDifference, subjects: &Subjects) -> String {
    let mut text = format!("\nroute {}\n", route.route);
    if route.users == 0 {
        text += &format!("  no {}\n", subjects.told());
    } else {
        let both =
            [("control → candidate", route.control_to_candidate), ("candidate → control", route.candidate_to_control)];
        for (direction, moved) in both {
            let users = grouped(route.users);
            text += &format!("  of {users} {} {} move {direction}\n", subjects.told(), share(moved));
        }
        if route.other_reason > 0 {
            text += &format!("  {} keep their arm for another reason\n", grouped(route.other_reason));
        }
    }
    text += &match route.phase.as_slice() {
        [] => "  evidence goes on\n".to_owned(),
        parts => {
            format!("  evidence starts anew: {}\n", parts.iter().map(|part| words(part)).collect::<Vec<_>>().join(", "))
        }
    };
    text + &route.notes.iter().map(|note| format!("  note: {note}\n")).collect::<String>()
}

/// `1.02 % [0.8, 1.2]`, or `3 (0.30 %)` of those who stand for nobody else.
fn share(moved: Moved) -> String {
    let percent = moved.percent.unwrap_or_default();
    match moved.interval {
        Some([low, high]) => format!("{} % [{}, {}]", decimals(percent, 2), bound(low), bound(high)),
        None => format!("{} ({} %)", grouped(moved.count), decimals(percent, 2)),
    }
}

fn decimals(number: f64, digits: usize) -> String {
    if number == 0.0 || number == 100.0 { format!("{number}") } else { format!("{number:.digits$}") }
}

/// A bound that one digit would make zero, or the whole, gets two.
fn bound(number: f64) -> String {
    decimals(number, if (0.1..=99.9).contains(&number) { 1 } else { 2 })
}

/// 10000 as 10,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn words(part: &str) -> &str {
    match part {
        "split_key" => "split key",
        "targeting" => "switches, lists or conditions",
        "control" => "control arm",
        "candidate" => "candidate arm",
        other => other,
    }
}

fn shown(value: &Value) -> String {
    let text = if value.is_null() { "-".to_owned() } else { value.to_string() };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
