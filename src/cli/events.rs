//! `pointsman events`: the events that a running gateway has stored, oldest first.

use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::client::AdminArgs;
use super::moment::moment;
use super::output;
use crate::clock;

/// Events that are shown where nobody says how many.
const DEFAULT_LIMIT: u64 = 100;
/// Most events of one question.
const PAGE: u64 = 1_000;
/// Where nobody says since when.
const DEFAULT_SINCE: SignedDuration = SignedDuration::from_hours(1);
/// Between two looks for new events.
const LOOK: Duration = Duration::from_secs(1);
/// Letters of `data` in a table.
const MAX_DATA: usize = 60;
/// Hex digits of the user's hash in a table.
const USER_DIGITS: usize = 8;

/// Which events.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// With this name.
    #[arg(long = "type", value_name = "NAME")]
    pub name: Option<String>,
    /// Of this route.
    #[arg(long)]
    pub route: Option<String>,
    /// That happened then or later: 2026-11-20T08:00:00Z, or how long ago: 90m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// That happened before.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
}

impl Which {
    /// The query, as `/api/v1/events` and `/api/v1/export` take it.
    pub(super) fn query(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let (start, end) = (self.since.map(|time| time.to_string()), self.until.map(|time| time.to_string()));
        let pairs = [("type", self.name.clone()), ("route", self.route.clone()), ("start", start), ("end", end)];
        for (name, value) in pairs {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query
    }
}

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; since an hour ago unless --since says otherwise.
    #[command(flatten)]
    pub which: Which,
    /// At most so many; 100 by default, with --follow without end.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Go on with events as they come in.
    #[arg(long)]
    pub follow: bool,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print a JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<Value>,
    next: Option<u64>,
    last: u64,
}

/// What is shown of an event.
#[derive(Debug, Deserialize)]
struct Event {
    number: u64,
    name: String,
    at: String,
    user: Option<String>,
    route: Option<String>,
    arm: Option<String>,
    value: Option<f64>,
    data: Option<Value>,
}

/// Shows events.
///
/// # Errors
/// If the gateway cannot be asked, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.admin.client()?;
    let mut which = args.which.clone();
    which.since = which.since.or_else(|| clock::timestamp().checked_sub(DEFAULT_SINCE).ok());
    let mut left = args.limit.unwrap_or(if args.follow { u64::MAX } else { DEFAULT_LIMIT });
    let mut cursor = 0;
    loop {
        let mut query = which.query();
        query.append_pair("limit", &left.min(PAGE).to_string()).append_pair("cursor", &cursor.to_string());
        let page: Page = client.get(&format!("/api/v1/events?{}", query.finish()))?;
        show(args, &page.events)?;
        left = left.saturating_sub(page.events.len() as u64);
        let last = page.events.last().and_then(|event| event["number"].as_u64());
        cursor = page.next.unwrap_or_else(|| page.last.max(last.unwrap_or(cursor)));
        if left == 0 {
            if page.next.is_some() {
                output::note("there may be more; --limit shows more of them\n")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if page.next.is_none() {
            if !args.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn show(args: &Args, events: &[Value]) -> anyhow::Result<()> {
    if args.json {
        output::write(&events.iter().map(|event| format!("{event}\n")).collect::<String>())?;
        return Ok(());
    }
    let rows = events.iter().map(|event| Ok(row(Event::deserialize(event)?)));
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    if args.follow {
        // Tables that come one after the other would not fit each other.
        output::write(&rows.iter().map(|row| format!("{}\n", row.join("  "))).collect::<String>())?;
    } else if !rows.is_empty() {
        output::write(&output::table(&["number", "at", "name", "route", "arm", "user", "value", "data"], rows))?;
    }
    Ok(())
}

fn row(event: Event) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let data = event.data.map(|data| {
        let text = data.to_string();
        if text.chars().count() <= MAX_DATA { text } else { text.chars().take(MAX_DATA).chain("...".chars()).collect() }
    });
    let cells = [
        event.number.to_string(),
        event.at,
        event.name,
        or_dash(event.route),
        or_dash(event.arm),
        or_dash(event.user.map(|user| user.chars().take(USER_DIGITS).collect())),
        or_dash(event.value.map(|value| value.to_string())),
        or_dash(data),
    ];
    // What a sender wrote must not steer the terminal.
    cells
        .map(|cell| cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_short_and_steers_no_terminal() {
        let event = serde_json::json!({
            "number": 7, "name": "a\u{1b}[2J", "at": "2026-11-20T08:00:00Z", "user": "0123456789abcdef",
            "route": null, "arm": null, "value": -0.5, "data": {"text": "x".repeat(100)},
        });
        let row = row(Event::deserialize(event).unwrap());
        assert_eq!(row[..7], ["7", "2026-11-20T08:00:00Z", "a\u{fffd}[2J", "-", "-", "01234567", "-0.5"]);
        assert_eq!(row[7].chars().count(), MAX_DATA + 3);
    }

    #[test]
    fn a_query_is_escaped() {
        let since = "2026-11-20T08:00:00Z".parse().ok();
        let which = Which { name: Some("a&b=c".into()), route: None, since, until: None };
        assert_eq!(which.query().finish(), "type=a%26b%3Dc&start=2026-11-20T08%3A00%3A00Z");
    }
}
