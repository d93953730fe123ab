//! From the verdicts of all metrics to what to do.

use super::judge::Judge;
use super::report::{Condition, Decision, Finding, MetricReport, Severity, State, Verdict, state};
use super::words::duration;
use super::{ARMS, Question, Role, Settings};
use crate::domain::guard;

impl Judge<'_> {
    /// What to do, in words, and what is waited for.
    pub(super) fn overall(
        &self,
        question: Question<'_>,
        metrics: &[MetricReport],
        findings: &[Finding],
    ) -> (Decision, String, Vec<String>) {
        if let Some(alarm) = findings.iter().find(|finding| finding.severity == Severity::Alarm) {
            let words = format!("The comparison is not to be trusted: {} {}", alarm.what, alarm.action);
            return (Decision::Distrust, words, Vec::new());
        }
        if state(question) == State::NotStarted {
            return (Decision::Wait, "The experiment has not started.".to_owned(), vec!["its start".to_owned()]);
        }
        if !question.metrics.iter().any(|metric| metric.role == Role::Primary) {
            let words = "No primary metric is named, so there is nothing to decide; what was measured is below.";
            return (Decision::NoQuestion, words.to_owned(), Vec::new());
        }
        let early = self.too_early();
        let named = |roles: &[&str], verdict: Verdict| -> Vec<&MetricReport> {
            metrics.iter().filter(|metric| roles.contains(&metric.role.as_str()) && metric.verdict == verdict).collect()
        };
        let worse = named(&["primary", "guard"], Verdict::Worse);
        if let (Some(worst), true) = (worse.first(), early.is_empty()) {
            let words = format!("Keep control: {} is {}.", worst.name, worst.words);
            return (Decision::Keep, words, Vec::new());
        }
        let open: Vec<String> = metrics
            .iter()
            .filter(|metric| metric.role != "exploratory")
            .filter(|metric| matches!(metric.verdict, Verdict::Undecided | Verdict::Unknown))
            .map(|metric| format!("{}: {}", metric.name, metric.words))
            .chain(unmet(question.conditions))
            .chain(early)
            .collect();
        if open.is_empty() && worse.is_empty() {
            let better = named(&["primary"], Verdict::Better);
            let told: Vec<String> =
                better.iter().map(|metric| format!("{} is {}", metric.name, metric.words)).collect();
            return (Decision::Ship, format!("Ship the candidate: {}; no guard objects.", told.join("; ")), open);
        }
        let ended = if state(question) == State::Ended { "It has ended without a decision" } else { "Not decided yet" };
        let so_far = worse.first().map(|worst| format!("; so far {} is {}", worst.name, worst.words));
        (Decision::Wait, format!("{ended}{}.", so_far.unwrap_or_default()), open)
    }

    fn too_early(&self) -> Vec<String> {
        let Settings { min_users, min_duration, .. } = self.settings;
        let mut waiting = Vec::new();
        for arm in ARMS {
            let have = self.users.assigned[arm.index()];
            if have < *min_users {
                waiting.push(format!("{arm} has {have:.0} users of the {min_users:.0} that are asked for"));
            }
        }
        if self.elapsed < *min_duration {
            let (had, asked) = (duration(self.elapsed), duration(*min_duration));
            waiting.push(format!("it ran for {had} of the {asked} that are asked for"));
        }
        waiting
    }
}

/// The conditions for shipping that do not hold, with their figures.
fn unmet(conditions: &[Condition]) -> impl Iterator<Item = String> + '_ {
    conditions.iter().filter_map(|Condition { condition, finding }| {
        let words = match finding.verdict {
            guard::Verdict::Holds => return None,
            guard::Verdict::Fails => "not so",
            guard::Verdict::NotEnoughData => "too little data to tell",
        };
        let figures = match (finding.found, finding.limit) {
            (Some(found), Some(limit)) => format!(" ({found:.4} against {limit:.4})"),
            (Some(_) | None, _) => String::new(),
        };
        Some(format!("{condition}: {words}{figures}"))
    })
}
