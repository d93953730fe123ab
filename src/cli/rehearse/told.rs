//! What came of a rehearsal, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::Told;
use crate::cli::output;
use crate::domain::rehearsal::{Courses, End, Nature, median};
use crate::domain::rollout::CATASTROPHE;

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";

/// How each set of runs is called.
const SETS: [&str; 2] = ["equal arms", "with the effect"];

/// As tables.
pub(super) fn as_text(told: &Told<'_>) -> String {
    let mut text = String::new();
    let runs = told.courses.first().map_or(0, Courses::count);
    text.push_str(&format!(
        "route {}: {runs} run(s) each of at most {}, looked at every {}, seed {}\n\n",
        told.route.name,
        spelled(told.pace.horizon),
        spelled(told.pace.look),
        told.seed
    ));
    text.push_str(&assumed(told));
    text.push('\n');
    text.push_str(&guards(told));
    text.push('\n');
    text.push_str(&plan(told));
    for note in &told.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn assumed(told: &Told<'_>) -> String {
    let has_effect = told.courses.len() > 1;
    let mut header = vec!["metric", "mean", "deviation"];
    header.extend(has_effect.then_some("candidate's mean with the effect"));
    let rows = told.assumed.iter().map(|assumed| {
        let [control, candidate] = assumed.made.means.map(|mean| figure(mean * assumed.scale));
        let deviation = match assumed.made.nature {
            Nature::Share => NOTHING.to_owned(),
            Nature::Score { deviation } => figure(deviation * assumed.scale),
            Nature::Amount { variation } => figure(variation * assumed.made.means[0] * assumed.scale),
        };
        let mut row = vec![assumed.name.clone(), control, deviation];
        row.extend(has_effect.then_some(candidate));
        row
    });
    output::table(&header, rows)
}

fn guards(told: &Told<'_>) -> String {
    let mut header = vec!["guard", "when", "then"];
    for _ in &told.courses {
        header.extend(["acted", "median time", "candidate's requests"]);
    }
    let mut rows = Vec::new();
    let mut sets = vec![String::new(); 3];
    for (name, _) in SETS.iter().zip(&told.courses) {
        sets.extend([(*name).to_owned(), String::new(), String::new()]);
    }
    rows.push(sets);
    let names =
        told.route.guards.iter().map(|guard| {
            vec![guard.name.to_string(), guard.condition.text.to_string(), guard.action.as_str().to_owned()]
        });
    let last = vec![CATASTROPHE.to_owned(), "nothing but failed attempts".to_owned(), "rollback".to_owned()];
    for (place, mut row) in names.chain([last]).enumerate() {
        for courses in &told.courses {
            let at = median(courses.acted(place).map(|moment| moment.at));
            let requests = median(courses.acted(place).map(|moment| moment.requests));
            row.push(share(courses.acted(place).count(), courses.count()));
            row.push(at.map_or(NOTHING.to_owned(), spelled));
            row.push(requests.map_or(NOTHING.to_owned(), |requests| requests.to_string()));
        }
        rows.push(row);
    }
    output::table(&header, rows)
}

fn plan(told: &Told<'_>) -> String {
    let rows = SETS.iter().zip(&told.courses).map(|(name, courses)| {
        let mut row = vec![(*name).to_owned()];
        for end in ENDS {
            let at = courses.duration(end).map_or(String::new(), |at| format!(", median {}", spelled(at)));
            row.push(format!("{}{at}", share(courses.ended(end), courses.count())));
        }
        row
    });
    output::table(&["plan", "completed", "held", "rolled back", "unfinished"], rows)
}

const ENDS: [End; 4] = [End::Completed, End::Held, End::RolledBack, End::Unfinished];

/// As JSON: shares are from 0 to 1, times in seconds.
pub(super) fn as_json(told: &Told<'_>) -> Value {
    let assumed: Vec<Value> = told
        .assumed
        .iter()
        .map(|assumed| {
            let [control, candidate] = assumed.made.means.map(|mean| mean * assumed.scale);
            json!({ "metric": assumed.name, "mean": control, "effect": candidate })
        })
        .collect();
    let sets: serde_json::Map<String, Value> = ["equal", "effect"]
        .into_iter()
        .zip(&told.courses)
        .map(|(name, courses)| (name.to_owned(), set(told, courses)))
        .collect();
    json!({
        "route": &*told.route.name,
        "seed": told.seed,
        "look_seconds": told.pace.look.as_secs(),
        "horizon_seconds": told.pace.horizon.as_secs(),
        "assumed": assumed,
        "sets": sets,
        "notes": told.notes,
    })
}

fn set(told: &Told<'_>, courses: &Courses) -> Value {
    let of = |count: usize| count as f64 / courses.count().max(1) as f64;
    let names = told.route.guards.iter().map(|guard| guard.name.to_string()).chain([CATASTROPHE.to_owned()]);
    let guards: serde_json::Map<String, Value> = names
        .enumerate()
        .map(|(place, name)| {
            let acted = json!({
                "acted": of(courses.acted(place).count()),
                "median_seconds": median(courses.acted(place).map(|moment| moment.at)).map(|at| at.as_secs()),
                "median_requests": median(courses.acted(place).map(|moment| moment.requests)),
            });
            (name, acted)
        })
        .collect();
    let ends: serde_json::Map<String, Value> = ["completed", "held", "rolled_back", "unfinished"]
        .into_iter()
        .zip(ENDS)
        .map(|(name, end)| {
            let at = courses.duration(end).map(|at| at.as_secs());
            (name.to_owned(), json!({ "share": of(courses.ended(end)), "median_seconds": at }))
        })
        .collect();
    json!({ "runs": courses.count(), "guards": guards, "ends": ends })
}

/// A share of runs in percent.
pub(super) fn share(count: usize, all: usize) -> String {
    format!("{:.1} %", count as f64 * 100.0 / all.max(1) as f64)
}

fn figure(number: f64) -> String {
    if number.abs() >= 100.0 { format!("{number:.0}") } else { format!("{:.3}", number) }
}

fn spelled(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
