//! A/A trials in full: `cargo bench --bench simulate [-- TRIALS]`. Figures in BENCHMARKS.md; a small form is among the tests.
//! With `-- power [TRIALS]`: arms that differ, as JSON lines for `benches/power.py`.

use std::io::Write as _;

mod power;
mod run;

use run::{Alarms, LOOKS, Setup, run};

/// Trials, unless the command says otherwise.
const TRIALS: usize = 2_000;
const USERS: usize = 1_500;
/// Trials of each effect, unless the command says otherwise.
const POWER_TRIALS: usize = 400;

fn main() -> std::io::Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|word| word == "power") {
        return power::write(asked.unwrap_or(POWER_TRIALS), &mut std::io::BufWriter::new(out));
    }
    let trials = asked.unwrap_or(TRIALS);
    for (name, percentages, difference) in [
        ("A/A, 50 %", [50.0; 3], 0.0),
        ("A/A, 10 % -> 25 % -> 50 %", [10.0, 25.0, 50.0], 0.0),
        ("a difference of 0.15, 50 %", [50.0; 3], 0.15),
    ] {
        let setup = Setup { trials, users: USERS, percentages, difference };
        let alarms = run(setup, 20_261_121);
        writeln!(out, "\n{name}: {trials} trials, {USERS} users, {LOOKS} looks, level 5 %; trials with an alarm")?;
        for (test, count) in rows(alarms) {
            writeln!(out, "| {test} | {:.2} % |", 100.0 * count as f64 / trials as f64)?;
        }
    }
    Ok(())
}

fn rows(alarms: Alarms) -> [(&'static str, usize); 9] {
    [
        ("by request, one look", alarms.requests_once),
        ("by request, at any look", alarms.requests_peeking),
        ("by request, always-valid", alarms.requests_always_valid),
        ("by user, one look (fixed horizon)", alarms.users_once),
        ("by user, at any look", alarms.users_peeking),
        ("by user, always-valid", alarms.always_valid),
        ("by user, always-valid, one-sided (guard)", alarms.guard),
        ("by user, spending by look, one-sided (robust)", alarms.robust),
        ("sample ratio mismatch at 0.1 %, always-valid", alarms.mismatch),
    ]
}
