//! `pointsman explain`: why an arm serves a user, from the file or from the running gateway.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, Refusal, TokenArgs};
use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::admin::explain::{Basis, Explanation, from_file};
use crate::admin::question::{Question, attribute};
use crate::config::{Loaded, load, report};
use crate::domain::Arm;
use crate::domain::condition::Examined;
use crate::domain::decision::Step;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route.
    pub route: String,
    /// The key of the user, or of whatever splits the route.
    #[arg(long)]
    pub key: Option<String>,
    /// As if a tester's header asked for this arm.
    #[arg(long = "override", value_name = "ARM", value_parser = arm)]
    pub override_arm: Option<Arm>,
    /// The pin of a running conversation, as the client got it. Its key is an attribute: session.key=...
    #[arg(long, value_name = "TOKEN")]
    pub pin: Option<String>,
    /// An attribute, as often as wanted: user.tier=premium.
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, Value)>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Ask the running gateway instead of reading the file, for example at http://127.0.0.1:9901.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// The token for it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Reads the name of an arm.
fn arm(word: &str) -> Result<Arm, String> {
    Arm::parse(word).ok_or_else(|| "expected `control` or `candidate`".to_owned())
}

/// Explains. Exit code 2: the configuration has mistakes, or there is no such route.
///
/// # Errors
/// If the gateway cannot be asked, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let question = Question {
        route: args.route.clone(),
        key: args.key.clone(),
        override_arm: args.override_arm,
        pin: args.pin.clone(),
        attributes: args.attributes.iter().cloned().collect(),
    };
    let explanation = match &args.admin {
        Some(url) => from_gateway(&Client::new(url, &args.token)?, &question)?,
        None => match load(&args.source.sources()?, None) {
            Ok(loaded) => from_loaded(&loaded, &question),
            Err(report) => Err(report::render(&report.diagnostics, output::note_style())),
        },
    };
    match explanation {
        Err(mistakes) => {
            output::note(&mistakes)?;
            Ok(ExitCode::from(MISTAKES))
        }
        Ok(explanation) => {
            if args.json {
                output::write_json(&serde_json::to_value(&explanation)?)?;
            } else {
                output::write(&told(&explanation))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The answer, or what is wrong with the question.
type Answer = Result<Explanation, String>;

fn from_loaded(loaded: &Loaded, question: &Question) -> Answer {
    from_file(loaded, question).map_err(|unanswerable| format!("{unanswerable}\n"))
}

fn from_gateway(client: &Client, question: &Question) -> anyhow::Result<Answer> {
    match client.get(&format!("/api/v1/explain?{}", question.to_query())) {
        Ok(explanation) => Ok(Ok(explanation)),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) if ["unknown_route", "invalid_request"].contains(&&*refusal.code) => {
                Ok(Err(format!("{}\n", refusal.detail)))
            }
            Some(_) | None => Err(error),
        },
    }
}

/// For people.
fn told(explanation: &Explanation) -> String {
    let Explanation { route, served, reason, backend, assigned, assigned_by, .. } = explanation;
    let key = explanation.key.as_ref().map_or_else(|| "without a key".to_owned(), |key| format!("key {key:?}"));
    let backend = backend.as_ref().map_or_else(String::new, |backend| format!(" ({backend})"));
    let mut text = format!("{route}, {key}: {served}{backend}, reason {}\n", reason.as_str());
    text += &format!("assigned: {assigned} by {}", assigned_by.as_str());
    if let Some(percent) = explanation.randomised {
        text += &format!(", drawn by {percent} %");
    }
    text.push('\n');
    text += &format!("value: {}\n", explanation.value);
    if let (Some(bucket), Some(percentage), Some(statistical)) =
        (explanation.bucket, explanation.percentage, explanation.statistical_bucket)
    {
        text += &format!("bucket {bucket}, that is {percentage:.6} %; statistical bucket {statistical}\n");
    }
    text += match explanation.basis {
        Basis::Running => "answered by the running gateway\n\n",
        Basis::File => "\n",
    };
    text += &output::table(&["step", "", "found"], explanation.steps.iter().flat_map(step_rows));
    text.push('\n');
    let values = explanation.values.iter();
    let shown = |value: &Value| if value.is_null() { "-".to_owned() } else { value.to_string() };
    let values = values.map(|value| vec![value.key.clone(), shown(&value.value), value.origin.clone()]);
    text += &output::table(&["key", "value", "from"], values);
    let notes: String = explanation.notes.iter().map(|note| format!("note: {note}\n")).collect();
    text + &notes
}

/// A row for the step, and one for each clause that it looked at.
fn step_rows(step: &Step) -> Vec<Vec<String>> {
    let decided = if step.decided { "decides" } else { "" };
    let mut rows = vec![vec![step.step.as_str().to_owned(), decided.to_owned(), step.found.clone()]];
    rows.extend(
        step.clauses.iter().map(|clause| vec![String::new(), clause.result.as_str().to_owned(), shown(clause)]),
    );
    rows
}

/// `user.tier eq "premium", found "trial"`, as deep as it lies.
fn shown(clause: &Examined) -> String {
    let indent = "  ".repeat(clause.depth + 1);
    let Examined { operator, attribute, operand, found, .. } = clause;
    match (attribute, operand) {
        (Some(attribute), Some(operand)) => {
            let found = found.as_deref().unwrap_or("nothing");
            format!("{indent}{attribute} {operator} {operand}, found {found}")
        }
        _ => format!("{indent}{operator}"),
    }
}

#[cfg(test)]
mod tests;
