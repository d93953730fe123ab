//! Rollouts of the demo, as the controller and the route's copies tell of them, and the words for them.

use crate::app::Gateway;
use crate::controller::rollout::View;
use crate::domain::Arm;
use crate::domain::pairs::{Pairs, Preference};
use crate::live::Snapshot;

/// Routes whose rollouts are shown.
const ROUTES: [&str; 2] = ["better", "worse"];

/// One route's rollout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RouteRollout {
    /// As the controller tells it.
    pub(super) view: View,
    /// Verdicts on pairs, since the demo began.
    pub(super) pairs: Pairs,
    /// Requests that each arm served, by [`Arm::index`], since the demo began.
    pub(super) served: [u64; 2],
}

impl RouteRollout {
    /// Those of the routes that the file still has.
    pub(super) fn read_all(gateway: &Gateway, snapshot: &Snapshot) -> Vec<Self> {
        ROUTES.into_iter().filter_map(|name| Self::read(gateway, snapshot, name)).collect()
    }

    fn read(gateway: &Gateway, snapshot: &Snapshot, name: &str) -> Option<Self> {
        let running = &snapshot.routes[snapshot.route_named(name)?];
        let view = gateway.rollouts.view(name)?;
        let mut pairs = Pairs::default();
        let counts = running.shadow.figures().preferences;
        for preference in Preference::ALL {
            pairs.add(preference, counts[preference.index()]);
        }
        let totals = running.totals();
        Some(Self { view, pairs, served: Arm::ALL.map(|arm| totals.served(arm)) })
    }

    /// The state, in words.
    pub(super) fn state(&self) -> String {
        self.view.state.replace('_', " ")
    }

    /// The stage and its number; `-` without one.
    pub(super) fn stage(&self) -> String {
        match (&self.view.stage, self.view.stage_number) {
            (Some(stage), Some(number)) => format!("{stage} ({number} of {})", self.view.stages),
            (Some(_) | None, _) => "-".to_owned(),
        }
    }

    /// State, stage and share in one line.
    pub(super) fn standing(&self) -> String {
        let stage = if self.view.stage.is_some() { format!(", stage {}", self.stage()) } else { String::new() };
        let copies = self.view.shadow.filter(|percent| *percent > 0.0);
        let copies = copies.map_or_else(String::new, |percent| format!(", copies of {percent} % of requests"));
        format!("{}{stage}, {} % of users{copies}", self.state(), self.view.percent)
    }

    /// The win rate of the candidate with its interval, and of how many pairs; `None` before the first that is no tie.
    pub(super) fn win_rate(&self) -> Option<String> {
        let rate = self.pairs.win_rate()?;
        let [low, rate, high] = [rate.low, rate.rate, rate.high].map(|share| share * 100.0);
        Some(format!("{rate:.0} % [{low:.0}, {high:.0}] of {}", self.pairs.wins + self.pairs.losses))
    }

    /// Why it stands there, or what it waits for, or what its guards see; in figures.
    pub(super) fn reason(&self) -> Option<String> {
        let figures = |found: Option<f64>, limit: Option<f64>| Some(format!("{:.4} against {:.4}", found?, limit?));
        let why = self.view.why.clone();
        let wait = || self.view.report.waits.first().map(|wait| format!("waits: {}", wait.what));
        let guard = || {
            let guard = self.view.guards.first()?;
            Some(format!(
                "guard {} ({}): {}",
                guard.name,
                guard.when,
                figures(guard.finding.found, guard.finding.limit)?
            ))
        };
        why.or_else(wait).or_else(guard)
    }

    /// What moved since `before`, with its reason and the figures of the conditions that were asked.
    pub(super) fn move_since(&self, before: &Self) -> Option<String> {
        let place = |rollout: &Self| {
            let View { state, stage, percent, why, .. } = &rollout.view;
            (state.clone(), stage.clone(), *percent, why.clone())
        };
        if place(self) == place(before) {
            return None;
        }
        let reason = self.view.by.as_ref().map_or("", |by| &*by.reason);
        let gates =
            self.view.report.gates.iter().filter_map(|(text, finding)| {
                Some(format!("{text}: {:.4} against {:.4}", finding.found?, finding.limit?))
            });
        let gates = gates.collect::<Vec<_>>().join(", ");
        let gates = if gates.is_empty() { gates } else { format!(" ({gates})") };
        Some(format!("Rollout of {}: {}.\n      Why: {reason}{gates}.", self.view.route, self.standing()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    fn view(more: serde_json::Value) -> View {
        let mut view = json!({
            "route": "better", "version": 3, "state": "running", "staged": true, "stages": 4, "percent": 50.0,
            "disabled": false, "run": 1, "report": { "waits": [], "gates": [] }, "guards": [], "stored": true,
            "vanished": false
        });
        view.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        serde_json::from_value(view).unwrap()
    }

    fn finding(verdict: &str, found: f64, limit: f64) -> serde_json::Value {
        json!({ "verdict": verdict, "found": found, "limit": limit, "samples": 132.0 })
    }

    /// One that goes on, and one that was rolled back.
    pub(in crate::cli::demo) fn examples() -> Vec<RouteRollout> {
        let better = view(json!({
            "stage": "half", "stage_number": 3, "shadow": 0.0,
            "by": { "actor": "plan", "reason": "stage first users has passed", "at": 0 },
            "report": {
                "waits": [{ "what": "active for 2 s of 6 s", "about": 4 }],
                "gates": [
                    ["quality > control", finding("holds", 0.9301, 0.7502)],
                    ["relevance > control", finding("holds", 0.92, 0.74)]
                ]
            }
        }));
        let why = "guard quality (quality < 0.7): 0.6812 against 0.7000, from 132 values";
        let worse = view(json!({
            "route": "worse", "state": "rolled_back", "staged": false, "stages": 0, "percent": 0.0, "why": why,
            "by": { "actor": "guard", "reason": why, "at": 0 }
        }));
        vec![
            RouteRollout { view: better, pairs: Pairs { wins: 181, losses: 14, ties: 20 }, served: [900, 320] },
            RouteRollout { view: worse, pairs: Pairs::default(), served: [1_800, 1_700] },
        ]
    }

    #[test]
    fn the_reason_is_what_is_known_best() {
        let [mut better, worse] = <[_; 2]>::try_from(examples()).unwrap();
        assert_eq!(worse.reason(), worse.view.why);
        assert_eq!(better.reason().as_deref(), Some("waits: active for 2 s of 6 s"));
        better.view.report.waits.clear();
        assert_eq!(better.reason(), None);
        better.view = view(json!({ "guards": [{
            "name": "quality", "when": "quality < 0.7", "then": "rollback", "finding": finding("fails", 0.85, 0.7),
            "breached_seconds": 0.0, "for_seconds": 0.0
        }] }));
        assert_eq!(better.reason().as_deref(), Some("guard quality (quality < 0.7): 0.8500 against 0.7000"));
    }

    #[test]
    fn a_move_is_told_with_its_reason_in_figures() {
        let [better, worse] = <[_; 2]>::try_from(examples()).unwrap();
        assert_eq!(better.move_since(&better), None);
        let shadow = view(json!({ "stage": "shadow", "stage_number": 1, "percent": 0.0, "shadow": 50.0 }));
        let before = RouteRollout { view: shadow, ..better.clone() };
        assert_eq!(before.standing(), "running, stage shadow (1 of 4), 0 % of users, copies of 50 % of requests");
        assert_eq!(
            better.move_since(&before).unwrap(),
            "Rollout of better: running, stage half (3 of 4), 50 % of users.\n      Why: stage first users has \
             passed (quality > control: 0.9301 against 0.7502, relevance > control: 0.9200 against 0.7400)."
        );
        let before = RouteRollout { view: view(json!({ "route": "worse" })), ..worse.clone() };
        assert_eq!(
            worse.move_since(&before).unwrap(),
            "Rollout of worse: rolled back, 0 % of users.\n      Why: guard quality (quality < 0.7): 0.6812 \
             against 0.7000, from 132 values."
        );
    }
}
