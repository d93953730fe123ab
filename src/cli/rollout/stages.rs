//! `pointsman rollout report`: each stage that a rollout was in, for how long, and what ended it, with its figures.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::output;
use crate::domain::guard::Finding;
use crate::domain::rollout::{Described, spelled};

/// Entries of the history that are looked at, from the newest on.
const MAX_ENTRIES: usize = 1_000;

#[derive(Debug, Deserialize)]
struct Page {
    history: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at: Timestamp,
    kind: String,
    actor: String,
    detail: Value,
}

/// What the history tells of a move.
#[derive(Debug, Deserialize)]
struct Moved {
    to: Described,
    reason: String,
    #[serde(default)]
    figures: BTreeMap<String, Finding>,
}

/// A stretch in one state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Stretch {
    /// The state.
    state: String,
    /// The stage's name.
    stage: Option<String>,
    /// The share that got the candidate, in percent.
    percent: f64,
    /// When it began.
    since: Timestamp,
    /// For how many seconds; `null` for the present one.
    seconds: Option<i64>,
    /// What ended it: `promoted`, `rolled_back`, ...
    ended: Option<String>,
    /// Who ended it.
    by: Option<String>,
    /// Why.
    reason: Option<String>,
    /// What the gates and guards saw then.
    figures: BTreeMap<String, Finding>,
}

/// The stretches of a route, the oldest first.
///
/// # Errors
/// If the gateway cannot be asked.
pub(super) fn of(client: &Client, route: &str) -> anyhow::Result<Vec<Stretch>> {
    let route = utf8_percent_encode(route, NON_ALPHANUMERIC);
    let page: Value = client.get(&format!("/api/v1/history?route={route}&limit={MAX_ENTRIES}"))?;
    let mut entries = Page::deserialize(page)?.history;
    entries.reverse();
    Ok(stretches(entries))
}

fn stretches(entries: Vec<Entry>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for Entry { at, kind, actor, detail } in entries {
        // Alerts and what is over move nothing.
        let Ok(Moved { to, reason, figures }) = Moved::deserialize(detail) else { continue };
        if let Some(last) = stretches.last_mut() {
            last.seconds = Some(at.as_second() - last.since.as_second());
            (last.ended, last.by, last.reason, last.figures) = (Some(kind), Some(actor), Some(reason), figures);
        }
        stretches.push(Stretch {
            state: to.state,
            stage: to.stage,
            percent: to.percent,
            since: at,
            seconds: None,
            ended: None,
            by: None,
            reason: None,
            figures: BTreeMap::new(),
        });
    }
    stretches
}

/// For people.
pub(super) fn shown(stretches: &[Stretch]) -> String {
    if stretches.is_empty() {
        return "nothing has moved yet\n".to_owned();
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = stretches.iter().map(|of| {
        let time = |seconds: i64| spelled(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        vec![
            of.state.clone(),
            or_dash(&of.stage),
            format!("{} %", of.percent),
            of.since.to_string(),
            of.seconds.map_or_else(|| "now".to_owned(), time),
            or_dash(&of.ended),
            or_dash(&of.by),
        ]
    });
    let mut text = output::table(&["state", "stage", "share", "since", "for", "ended by", "actor"], rows);
    for of in stretches.iter().filter(|of| of.reason.is_some()) {
        let stage = of.stage.as_deref().map_or_else(|| of.state.clone(), str::to_owned);
        text += &format!("{stage}: {}\n", or_dash(&of.reason));
        for (name, finding) in &of.figures {
            let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"));
            text += &format!(
                "  {name}: {}, {} against {}, from {:.0} values\n",
                finding.verdict.as_str(),
                number(finding.found),
                number(finding.limit),
                finding.samples
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_stretch_has_its_time_and_what_ended_it() {
        let entry = |second: i64, kind: &str, detail: Value| Entry {
            at: Timestamp::from_second(1_000 + second).unwrap(),
            kind: kind.to_owned(),
            actor: "plan".to_owned(),
            detail,
        };
        let to = |state: &str, stage: &str, percent: f64| json!({ "state": state, "stage": stage, "percent": percent });
        let figures = json!({ "error_rate < 1%":
            { "verdict": "holds", "found": 0.004, "limit": 0.01, "samples": 900.0 } });
        let found = stretches(vec![
            entry(0, "started", json!({ "to": to("running", "ten", 10.0), "reason": "go" })),
            entry(30, "alert", json!({ "key": "slow", "text": "slow" })),
            entry(90, "promoted", json!({ "to": to("running", "half", 50.0), "reason": "passed", "figures": figures })),
        ]);
        assert_eq!(found.iter().map(|of| of.seconds).collect::<Vec<_>>(), [Some(90), None]);
        let text = shown(&found);
        assert!(text.contains("1 min 30 s") && text.contains("promoted"), "{text}");
        assert!(text.contains("  error_rate < 1%: holds, 0.0040 against 0.0100, from 900 values"), "{text}");
        assert_eq!(shown(&[]), "nothing has moved yet\n");
    }
}
