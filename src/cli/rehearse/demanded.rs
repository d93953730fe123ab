//! `pointsman rehearse --demands`: whether Pointsman's own guards do what they promise.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::told::share;
use super::{Args, progress, seed};
use crate::cli::output;
use crate::domain::rehearsal::demands::Demand;
use crate::domain::rehearsal::{Courses, End};

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runs = |demand: Demand| args.runs.unwrap_or_else(|| demand.runs());
    let progress = progress(Demand::ALL.into_iter().map(runs).sum());
    let mut found = Vec::new();
    for demand in Demand::ALL {
        let mut courses = Courses::default();
        for number in 0..runs(demand) {
            courses.add(demand.run(seed(args.seed, number)));
            progress.inc(1);
        }
        found.push((demand, courses));
    }
    progress.finish_and_clear();
    if args.json {
        output::write_json(&found.iter().map(|(demand, courses)| as_json(*demand, courses)).collect())?;
    } else {
        let rows = found.iter().map(|(demand, courses)| {
            let kept = demand.kept(courses);
            let holds = if demand.holds(courses) { "yes" } else { "NO" };
            let looks = courses.fewest_looks(End::Completed).map_or_else(|| "-".to_owned(), |looks| looks.to_string());
            let rolled_back = share(courses.ended(End::RolledBack), courses.count());
            let kept = format!("{:.2} %", kept * 100.0);
            vec![demand.words().to_owned(), courses.count().to_string(), kept, rolled_back, looks, holds.to_owned()]
        });
        let header = ["demand", "runs", "so in", "rolled back", "looks at least", "holds"];
        output::write(&output::table(&header, rows))?;
    }
    let holds = found.iter().all(|(demand, courses)| demand.holds(courses));
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(demand: Demand, courses: &Courses) -> Value {
    json!({
        "demand": demand.words(),
        "runs": courses.count(),
        "share": demand.kept(courses),
        "wanted": demand.wanted(),
        "rolled_back": courses.ended(End::RolledBack),
        "holds": demand.holds(courses),
    })
}
