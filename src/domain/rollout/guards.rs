//! Guards act in the middle of a stage; of several that fire, the strongest wins.

use std::time::Duration;

use super::command::{hold, stage_before};
use super::state::{Clock, Standing, State};
use super::step::{Effect, MAX_ELAPSED, Observed, Walk};
use crate::domain::guard::{Action, Finding, Verdict};
use crate::domain::percent::Percent;

/// A guard and what it sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// For how long its condition has to hold.
    pub hold_for: Duration,
    /// Fewer values are too little to tell.
    pub min_samples: f64,
    /// For how long there may be too little data before somebody is told; `None` for ever.
    pub alert_after: Option<Duration>,
    /// Its condition, as the file says it.
    pub condition: String,
    /// What it sees.
    pub finding: Finding,
}

impl Watched {
    /// In words and figures.
    #[must_use]
    pub fn words(&self) -> String {
        let figures = match (self.finding.found, self.finding.limit) {
            (Some(found), Some(limit)) => {
                format!(": {found:.4} against {limit:.4}, from {} values", self.finding.samples)
            }
            _ => String::new(),
        };
        format!("guard {} ({}){figures}", self.name, self.condition)
    }
}

/// The guard that no file names: many failed attempts in few.
pub const CATASTROPHE: &str = "catastrophe";

pub(super) fn act(walk: &mut Walk<'_>, observed: &Observed) {
    let known = |name: &str| observed.guards.iter().any(|guard| guard.name == name);
    walk.rollout.clocks.retain(|name, _| known(name));
    let of_guard = |key: &str| key.strip_suffix(NO_DATA).unwrap_or(key).to_owned();
    resolve(walk, |key| key != CATASTROPHE && !known(&of_guard(key)));
    let Some(at) = watched_standing(&walk.rollout.state) else { return };
    if let Some(figures) = &observed.catastrophe {
        let why = format!("guard {CATASTROPHE}: {figures}");
        alert(walk, CATASTROPHE, true, &why);
        walk.go("rolled_back", State::RolledBack { stage: at.stage, why: why.clone() }, GUARD, &why, Vec::new());
        return;
    }
    let elapsed = observed.elapsed.min(MAX_ELAPSED).as_millis() as u64;
    let mut strongest: Option<&Watched> = None;
    for guard in &observed.guards {
        if pass_time(walk, guard, elapsed) && strongest.is_none_or(|other| guard.action > other.action) {
            strongest = Some(guard);
        }
    }
    let Some(guard) = strongest else { return };
    let why = guard.words();
    let figures = vec![(guard.name.clone(), guard.finding)];
    let held = matches!(walk.rollout.state, State::Held { .. });
    let (kind, state) = match guard.action {
        Action::Alert => return,
        Action::Hold if held => return,
        Action::Hold => ("held", hold(walk, at, &why)),
        Action::Halve => ("halved", halved(walk, at, &why)),
        Action::StepBack => ("stepped_back", stage_before(walk, at, &why)),
        Action::Rollback => ("rolled_back", State::RolledBack { stage: at.stage, why: why.clone() }),
    };
    walk.go(kind, state, GUARD, &why, figures);
}

/// Who acts in the history.
const GUARD: &str = "guard";

/// Where guards look: wherever the candidate has users, also while it is held.
const fn watched_standing(state: &State) -> Option<Standing> {
    match state {
        State::Running(at) | State::Held { at, .. } | State::AwaitingApproval(at) | State::Watching(at) => Some(*at),
        State::Draft | State::RolledBack { .. } | State::Completed(_) => None,
    }
}

/// Moves a guard's clocks; whether it fires now.
fn pass_time(walk: &mut Walk<'_>, guard: &Watched, elapsed: u64) -> bool {
    // Where nobody gets the candidate, nothing is expected.
    let is_expected = !walk.rollout.disabled && walk.rollout.exposure(walk.plan).percent > Percent::ZERO;
    let clock = walk.rollout.clocks.entry(guard.name.clone()).or_default();
    let before = *clock;
    match guard.finding.verdict {
        Verdict::Holds => {
            // The moment in which it is first seen is the beginning of its time.
            let passed = if before.breached_ms == 0 && !before.acted { elapsed.min(1) } else { elapsed };
            *clock = Clock { breached_ms: before.breached_ms.saturating_add(passed), silent_ms: 0, ..before };
        }
        Verdict::Fails => *clock = Clock::default(),
        // It neither passes nor fails: what was breached stays so.
        Verdict::NotEnoughData if guard.finding.samples < guard.min_samples && is_expected => {
            clock.silent_ms = clock.silent_ms.saturating_add(elapsed);
        }
        // A test that has data and no answer yet is no silence.
        Verdict::NotEnoughData => clock.silent_ms = 0,
    }
    let after = *clock;
    if after == Clock::default() {
        walk.rollout.clocks.remove(&guard.name);
    }
    silence(walk, guard, after.silent_ms);
    match guard.finding.verdict {
        Verdict::Fails => {
            resolve(walk, |key| key == guard.name);
            false
        }
        Verdict::Holds if after.breached_ms >= guard.hold_for.as_millis() as u64 && !before.acted => {
            if let Some(clock) = walk.rollout.clocks.get_mut(&guard.name) {
                clock.acted = true;
            }
            alert(walk, &guard.name, guard.action > Action::Hold, &guard.words());
            true
        }
        Verdict::Holds | Verdict::NotEnoughData => false,
    }
}

/// What stands behind a guard's name in the key of an alert that it sees too little.
const NO_DATA: &str = "/no_data";

/// Tells once when too little was known for too long, and once when that is over.
fn silence(walk: &mut Walk<'_>, guard: &Watched, silent: u64) {
    let Some(most) = guard.alert_after.map(|most| most.as_millis() as u64) else { return };
    let key = format!("{}{NO_DATA}", guard.name);
    let is_told = walk.rollout.raised.contains(&key);
    if silent >= most && !is_told {
        let Watched { name, condition, .. } = guard;
        let text = format!("guard {name} ({condition}) has too little data to tell, for {} s", silent / 1_000);
        alert(walk, &key, false, &text);
    } else if is_told && guard.finding.verdict != Verdict::NotEnoughData {
        resolve(walk, |other| other == key);
    }
}

fn alert(walk: &mut Walk<'_>, key: &str, critical: bool, text: &str) {
    walk.rollout.raised.insert(key.to_owned());
    walk.effects.push(Effect::Alert { key: key.to_owned(), critical, text: text.to_owned() });
}

/// Tells that alerts are over.
pub(super) fn resolve(walk: &mut Walk<'_>, is_over: impl Fn(&str) -> bool) {
    let (over, left) = std::mem::take(&mut walk.rollout.raised).into_iter().partition(|key| is_over(key));
    walk.rollout.raised = left;
    let over: std::collections::BTreeSet<String> = over;
    walk.effects.extend(over.into_iter().map(|key| Effect::Resolve { key }));
}

fn halved(walk: &Walk<'_>, at: Standing, why: &str) -> State {
    let cap = Some(walk.rollout.exposure(walk.plan).percent.get() / 2.0);
    State::Held { at: Standing { cap, active_ms: 0, ..at }, why: why.to_owned() }
}

/// Rolls back for a reason of the plan's own.
pub(super) fn roll_back(walk: &mut Walk<'_>, actor: &str, why: &str) {
    let stage = walk.rollout.state.stage().unwrap_or(0);
    walk.go("rolled_back", State::RolledBack { stage, why: why.to_owned() }, actor, why, Vec::new());
}
