//! `pointsman try`: one request to both arms of a route, and the answers side by side.
//!
//! It goes through the running gateway, as a tester's request does: by the route's override header, so
//! that fields, paths and deadlines are those of the route. It makes no decision of its own, and says
//! so when another arm answered than was asked.

mod answer;
mod plan;
mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderName, HeaderValue, Method};

use super::client::{Client, DEFAULT_ADMIN, Refusal, TokenArgs};
use super::{MISTAKES, output};
use crate::domain::Arm;
use crate::domain::decision::Reason;
use answer::Answer;
use plan::{Plan, RoutePage, Wish};
use told::Tried;

/// Arguments of `try`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route. It needs an `override`.
    pub route: String,
    /// A file that holds the key of the route's override alone.
    #[arg(long, value_name = "FILE", env = "POINTSMAN_OVERRIDE_KEY_FILE")]
    pub override_key_file: PathBuf,
    /// Where clients reach the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The path, with its query; the route's own by default.
    #[arg(long)]
    pub path: Option<String>,
    /// The method; GET by default, POST with data.
    #[arg(long)]
    pub method: Option<Method>,
    /// A header, as often as wanted: "accept: application/json".
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, or @FILE.
    #[arg(long)]
    pub data: Option<String>,
    /// The key of the user to ask as.
    #[arg(long, value_name = "KEY")]
    pub user: Option<String>,
    /// Send methods that may change something, too: to both backends.
    #[arg(long)]
    pub yes: bool,
    /// The longest to wait for an arm's whole answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub timeout: u64,
    /// The gateway's admin address, which tells of the route.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN)]
    pub admin: String,
    /// The token for it.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Reads `NAME: VALUE`.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE, for example \"accept: application/json\"")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "the value cannot stand in a header".to_owned())?;
    Ok((name, value))
}

/// Tries both arms. Exit code 0: both answered 2xx themselves, 1: one did not, 2: it cannot be tried so.
///
/// # Errors
/// If the gateway cannot be asked about the route, a file cannot be read, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = read(&args.override_key_file)?;
    let key = std::str::from_utf8(&key).context("the override's key is no text")?.trim_end_matches(['\r', '\n']);
    let data = args.data.as_deref().map(data).transpose()?;
    let plan = match page(args)?.and_then(|page| Plan::new(&wish(args, data.as_deref()), &page)) {
        Ok(plan) => plan,
        Err(mistake) => {
            output::note(&format!("error: {mistake}\n"))?;
            return Ok(ExitCode::from(MISTAKES));
        }
    };
    output::note("note: this request reaches both backends, control and candidate\n")?;
    let patience = Duration::from_secs(args.timeout);
    let ask = |arm| ask(&plan, arm, key, data.as_deref().unwrap_or_default(), patience);
    let control = ask(Arm::Control)?;
    if let Some(refusal) = refusal(&control) {
        output::note(&format!("error: {refusal}\n"))?;
        return Ok(ExitCode::FAILURE);
    }
    let tried = [control, ask(Arm::Candidate)?];
    if args.json {
        output::write_json(&told::as_json(&args.route, &tried))?;
    } else {
        output::write(&told::told(&args.route, &tried))?;
    }
    Ok(if tried.iter().all(Tried::is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wish<'a>(args: &'a Args, data: Option<&'a [u8]>) -> Wish<'a> {
    let Args { url, method, path, headers, user, yes, .. } = args;
    Wish { url, method: method.as_ref(), path: path.as_deref(), headers, data, user: user.as_deref(), yes: *yes }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The body: the text itself, or the file behind an `@`.
fn data(text: &str) -> anyhow::Result<Vec<u8>> {
    text.strip_prefix('@').map_or_else(|| Ok(text.as_bytes().to_vec()), |path| read(Path::new(path)))
}

/// What the gateway says of the route; the inner error is for who typed its name.
fn page(args: &Args) -> anyhow::Result<Result<RoutePage, String>> {
    let client = Client::new(&args.admin, &args.token)?;
    let name: String = percent_encoding::utf8_percent_encode(&args.route, percent_encoding::NON_ALPHANUMERIC).collect();
    match client.get(&format!("/api/v1/routes/{name}")) {
        Ok(page) => Ok(Ok(page)),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.code == "unknown_route" => Ok(Err(refusal.detail.clone())),
            Some(_) | None => Err(error),
        },
    }
}

fn ask(plan: &Plan, arm: Arm, key: &str, data: &[u8], patience: Duration) -> anyhow::Result<Tried> {
    let chosen = Plan::override_value(arm, key).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(Answer::to(plan, chosen, data, patience));
    let answer = answer.map_err(|error| format!("{error:#}"));
    // Who served is who is paid.
    let served = answer.as_ref().ok().and_then(|answer| Arm::parse(answer.served.as_deref()?)).unwrap_or(arm);
    Ok(Tried { arm, answer, pricing: plan.prices[served.index()].clone() })
}

/// Control has no reason to be served by but the override: another one says that the key is wrong, and
/// then the second request would tell nothing of the candidate.
fn refusal(control: &Tried) -> Option<String> {
    let reason = control.answer.as_ref().ok()?.reason.as_deref()?;
    (reason != Reason::Override.as_str()).then(|| {
        format!(
            "the gateway did not take the override (it served by {reason}): is the key right, and the path the route's?"
        )
    })
}

#[cfg(test)]
mod tests;
