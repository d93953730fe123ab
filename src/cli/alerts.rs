//! `pointsman alerts`: what fires in a running gateway, and whether a webhook hears of it.

use std::process::ExitCode;

use anyhow::bail;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::client::AdminArgs;
use super::output;

/// Letters of a title in a table.
const MAX_TITLE: usize = 80;

/// Arguments of `alerts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What else to do.
    #[command(subcommand)]
    pub act: Option<Act>,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print what the gateway answers, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What else there is.
#[derive(Debug, clap::Subcommand)]
pub enum Act {
    /// Send a message to a webhook, once. Takes an operator's token.
    Test {
        /// The webhook's name in the file.
        webhook: String,
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// What is shown of an alert.
#[derive(Debug, Deserialize)]
struct Firing {
    severity: String,
    route: Option<String>,
    title: String,
    since: String,
    count: u64,
}

/// What is shown of a message that was told.
#[derive(Debug, Deserialize)]
struct Told {
    at: String,
    kind: String,
    severity: String,
    route: Option<String>,
    title: String,
}

/// What is shown of a webhook.
#[derive(Debug, Deserialize)]
struct Webhook {
    name: String,
    format: String,
    waiting: u64,
    delivered: u64,
    failed: u64,
    given_up: u64,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    firing: Vec<Firing>,
    recent: Vec<Told>,
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Deserialize)]
struct Tested {
    delivered: bool,
    error: Option<String>,
}

/// Shows alerts, or tries a webhook.
///
/// # Errors
/// If the gateway cannot be asked, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Act::Test { webhook, admin }) = &args.act {
        return test(webhook, admin);
    }
    let page: Value = args.admin.client()?.get("/api/v1/alerts")?;
    if args.json {
        output::write(&format!("{page}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = Page::deserialize(page)?;
    output::write(&shown(page))?;
    Ok(ExitCode::SUCCESS)
}

fn test(webhook: &str, admin: &AdminArgs) -> anyhow::Result<ExitCode> {
    let name = utf8_percent_encode(webhook, NON_ALPHANUMERIC);
    let tested: Tested = admin.client()?.post(&format!("/api/v1/alerts/test/{name}"), &serde_json::json!({}))?;
    if !tested.delivered {
        bail!("{webhook} did not take it: {}", tested.error.unwrap_or_default());
    }
    output::write(&format!("{webhook} took it\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn shown(page: Page) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let firing = page.firing.into_iter();
    let firing =
        firing.map(|row| vec![row.severity, or_dash(row.route), title(&row.title), row.since, row.count.to_string()]);
    let recent = page.recent.into_iter();
    let recent = recent.map(|row| vec![row.at, row.kind, row.severity, or_dash(row.route), title(&row.title)]);
    let webhooks = page.webhooks.into_iter().map(|row| {
        let counts = [row.waiting, row.delivered, row.failed, row.given_up].map(|count| count.to_string());
        [vec![row.name, row.format], counts.to_vec(), vec![or_dash(row.error.as_deref().map(title))]].concat()
    });
    let webhook_head = ["name", "format", "waiting", "delivered", "failed", "given up", "last error"];
    [
        part("Firing", &["severity", "route", "alert", "since", "raised"], firing.collect()),
        part("Told of late", &["at", "kind", "severity", "route", "title"], recent.collect()),
        part("Webhooks", &webhook_head, webhooks.collect()),
    ]
    .concat()
}

fn part(name: &str, head: &[&str], rows: Vec<Vec<String>>) -> String {
    let table = if rows.is_empty() { "none\n".to_owned() } else { output::table(head, rows) };
    format!("{name}\n{table}\n")
}

/// Short, and without what would steer the terminal.
fn title(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    plain.take(MAX_TITLE).collect()
}
