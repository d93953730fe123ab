//! Exported events as a recording: what `pointsman export --format ndjson` wrote.
//!
//! Of each event counts what metrics of the file read from it. Where control's users left enough of them, the candidate's
//! are left out: what is replayed should be what users have today.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Args;
use super::assumed::{self, Assumed};
use crate::config::model::{Config, MetricSource, Route};
use crate::domain::Arm;
use crate::domain::evidence::Measured;
use crate::domain::metric::MetricId;
use crate::domain::phase::Fingerprint;
use crate::domain::rehearsal::{Made, Recorded, Recording};

/// Most events of a recording.
const MAX_EVENTS: usize = 5_000_000;
/// Longest line, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// Fewer events of control are too few to leave out the candidate's.
const ENOUGH: usize = 1_000;

/// One line. What else is in it does not count.
#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    at: Timestamp,
    user: Option<String>,
    route: Option<String>,
    arm: Option<Arm>,
    value: Option<f64>,
    #[serde(default)]
    data: Value,
}

/// What a file gives.
pub(super) struct Replayed {
    pub(super) equal: Recording,
    pub(super) effect: Option<Recording>,
    pub(super) assumed: Vec<Assumed>,
    pub(super) notes: Vec<String>,
}

/// Reads a file.
pub(super) fn read(path: &Path, args: &Args, config: &Config, route: &Route) -> anyhow::Result<Replayed> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let (mut found, mut skipped) = (Vec::new(), 0_usize);
    for number in 1_usize.. {
        let mut text = String::new();
        let length = std::io::Read::take(&mut reader, MAX_LINE).read_line(&mut text);
        let length = length.with_context(|| format!("in {}, line {number}", path.display()))?;
        if length == 0 {
            break;
        }
        if length as u64 == MAX_LINE {
            bail!("{}, line {number} has more than {MAX_LINE} bytes", path.display());
        }
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&text)
            .with_context(|| format!("{}, line {number} is no exported event", path.display()))?;
        match event(&line, config, route) {
            Some(event) if found.len() < MAX_EVENTS => found.push(event),
            Some(_) => bail!("{} has more than {MAX_EVENTS} events of this route", path.display()),
            None => skipped += 1,
        }
    }
    replayed(found, skipped, args, config, route).with_context(|| format!("in {}", path.display()))
}

/// An event of this route that counts for a metric: when, whose arm, who, and what.
type Found = (Timestamp, Arm, u64, Vec<(usize, f64)>);

fn event(line: &Line, config: &Config, route: &Route) -> Option<Found> {
    let (user, arm) = (line.user.as_deref()?, line.arm?);
    if line.route.as_deref() != Some(&*route.name) {
        return None;
    }
    let read = |(index, metric): (usize, &crate::config::model::Metric)| match &metric.sources[arm.index()] {
        MetricSource::Event(source) => Some((index, source.read(metric.kind, &line.name, line.value, &line.data)?)),
        MetricSource::Header(_) | MetricSource::Json(_) | MetricSource::Usage(_) | MetricSource::Ratio(_) => None,
    };
    let values: Vec<(usize, f64)> = config.metrics.iter().enumerate().filter_map(read).collect();
    let [a, b, c, d, e, f, g, h, ..] = Fingerprint::default().with("user", user).finish();
    (!values.is_empty()).then(|| (line.at, arm, u64::from_be_bytes([a, b, c, d, e, f, g, h]), values))
}

fn replayed(
    mut found: Vec<Found>,
    skipped: usize,
    args: &Args,
    config: &Config,
    route: &Route,
) -> anyhow::Result<Replayed> {
    let mut notes = Vec::new();
    if skipped > 0 {
        notes.push(format!("{skipped} event(s) are of other routes, of no user, or count for no metric"));
    }
    if found.iter().filter(|(_, arm, ..)| *arm == Arm::Control).count() >= ENOUGH {
        found.retain(|(_, arm, ..)| *arm == Arm::Control);
    } else {
        notes.push(format!("control has fewer than {ENOUGH} events, so the candidate's count, too"));
    }
    let Some(first) = found.iter().map(|(at, ..)| at.as_second()).min() else {
        bail!("no event of route {} counts for a metric of the file", route.name);
    };
    let (mut assumed, mut is_seen) = (Vec::new(), Vec::new());
    for index in 0..config.metrics.len() {
        let values = || found.iter().flat_map(|(.., values)| values).filter(move |(place, _)| *place == index);
        let (count, sum) = values().fold((0.0, 0.0), |(count, sum), (_, value)| (count + 1.0, sum + value));
        let mut one = assumed::usual(config, Measured::Own(MetricId(u16::try_from(index).unwrap_or(u16::MAX))));
        if count > 0.0 {
            one.made.means = [sum / count; 2];
        }
        assumed.push(one);
        is_seen.push(count > 0.0);
    }
    assumed::effects(args, config, &mut assumed)?;
    let second = |at: Timestamp| u64::try_from(at.as_second() - first).unwrap_or(0);
    let events: Vec<Recorded> =
        found.into_iter().map(|(at, _, user, values)| Recorded { at: second(at), user, values }).collect();
    let made = |equal: bool| -> Vec<Made> {
        let one = |made: Made| if equal { Made { means: [made.means[0]; 2], ..made } } else { made };
        assumed.iter().map(|assumed| one(assumed.made)).collect()
    };
    let effect = (!args.effects.is_empty()).then(|| Recording::new(events.clone(), made(false)));
    notes.push("each event is taken for a request; errors and times are not in a recording".to_owned());
    let equal = Recording::new(events, made(true));
    let mut is_seen = is_seen.into_iter();
    assumed.retain(|_| is_seen.next() == Some(true));
    Ok(Replayed { equal, effect, assumed, notes })
}
