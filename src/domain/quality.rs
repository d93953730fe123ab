//! The quality gate of one route: shut when the mean of a metric over a window falls under `min`.
//!
//! `shut` means that control serves. After `retry_after` a small share of the cohort (`probe_percent`)
//! reaches the candidate again to gather new scores; the gate opens once their mean is above
//! `min + margin`. The time and the scores are passed in.

use std::time::Duration;

use super::assignment::Share;
use super::breaker::Millis;
use super::window::{Mean, Window};

/// How a quality gate behaves; from `[routes.NAME.quality_gate]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The mean under which it shuts.
    pub min: f64,
    /// It opens again only above `min + margin`.
    pub margin: f64,
    /// The window of the mean.
    pub window: Duration,
    /// Not judged under this many scores, in either direction.
    pub min_samples: u64,
    /// How long it stays shut before probes begin.
    pub retry_after: Duration,
    /// The share of the cohort that probes (`probe_percent`).
    pub probes: Share,
}

/// Where the gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "GatePosition")]
pub enum Position {
    /// The candidate serves its cohort.
    Open,
    /// Control serves.
    Shut,
    /// Control serves, and a share of the cohort gathers new scores.
    Probing,
}

/// The gate with its scores.
#[derive(Debug, Clone)]
pub struct Gate {
    settings: Settings,
    position: Position,
    since: Millis,
    scores: Window<Mean>,
}

impl Gate {
    /// An open gate without scores.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let scores = Window::new(settings.window);
        Self { settings, position: Position::Open, since: 0, scores }
    }

    /// Takes over new settings and keeps position and scores, unless the window changed: scores of
    /// another window cannot be recut.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        if settings.window != self.settings.window {
            self.scores = Window::new(settings.window);
        }
        self.settings = settings;
        self
    }

    /// Adds a score. Scores that are not finite are the caller's to refuse; they are ignored here.
    pub fn record(&mut self, score: f64, now: Millis) {
        if score.is_finite() {
            self.scores.at(now).add(score);
        }
    }

    /// Judges the window and moves; returns the new position if it changed.
    pub fn evaluate(&mut self, now: Millis) -> Option<Position> {
        let mean = self.mean(now);
        let judged = mean.value().filter(|_| mean.count >= self.settings.min_samples);
        let next = match self.position {
            Position::Open => match judged {
                Some(value) if value < self.settings.min => Position::Shut,
                Some(_) | None => Position::Open,
            },
            Position::Shut if self.waited(now) => Position::Probing,
            Position::Shut => Position::Shut,
            Position::Probing => match judged {
                Some(value) if value > self.settings.min + self.settings.margin => Position::Open,
                // Bad again with enough scores: rest before the next attempt.
                Some(value) if value < self.settings.min => Position::Shut,
                Some(_) | None => Position::Probing,
            },
        };
        if next == self.position {
            return None;
        }
        if next == Position::Probing {
            // Only what the candidate does from now on can open the gate.
            self.scores.clear();
        }
        self.position = next;
        self.since = now;
        Some(next)
    }

    /// Where it stands.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Count and sum of the scores in the window.
    pub fn mean(&mut self, now: Millis) -> Mean {
        self.scores.total(now)
    }

    fn waited(&self, now: Millis) -> bool {
        u128::from(now.saturating_sub(self.since)) >= self.settings.retry_after.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::percent::Percent;

    fn gate() -> Gate {
        Gate::new(Settings {
            min: 0.7,
            margin: 0.05,
            window: Duration::from_secs(60),
            min_samples: 10,
            retry_after: Duration::from_secs(30),
            probes: Share::new(Percent::new(10.0).unwrap()),
        })
    }

    fn score(gate: &mut Gate, times: u32, value: f64, now: Millis) {
        for _ in 0..times {
            gate.record(value, now);
        }
    }

    #[test]
    fn too_few_scores_are_not_judged() {
        let mut gate = gate();
        score(&mut gate, 9, 0.0, 1_000);
        assert_eq!(gate.evaluate(1_000), None);
        score(&mut gate, 1, 0.0, 1_000);
        assert_eq!(gate.evaluate(1_000), Some(Position::Shut));
    }

    #[test]
    fn it_rests_probes_and_opens_only_above_the_margin() {
        let mut gate = gate();
        score(&mut gate, 10, 0.5, 1_000);
        gate.evaluate(1_000);
        assert_eq!(gate.evaluate(30_999), None);
        assert_eq!(gate.evaluate(31_000), Some(Position::Probing));
        score(&mut gate, 10, 0.72, 32_000);
        assert_eq!(gate.evaluate(32_000), None);
        score(&mut gate, 20, 0.9, 33_000);
        assert_eq!(gate.evaluate(33_000), Some(Position::Open));
    }

    #[test]
    fn bad_probes_shut_it_again() {
        let mut gate = gate();
        score(&mut gate, 10, 0.5, 0);
        gate.evaluate(0);
        gate.evaluate(30_000);
        score(&mut gate, 10, 0.5, 31_000);
        assert_eq!(gate.evaluate(31_000), Some(Position::Shut));
        assert_eq!(gate.evaluate(60_999), None);
        assert_eq!(gate.evaluate(61_000), Some(Position::Probing));
    }

    #[test]
    fn scores_that_are_no_numbers_do_not_count() {
        let mut gate = gate();
        score(&mut gate, 10, f64::NAN, 0);
        score(&mut gate, 10, f64::INFINITY, 0);
        assert_eq!(gate.mean(0).count, 0);
    }

    #[test]
    fn new_settings_keep_the_position() {
        let mut gate = gate();
        score(&mut gate, 10, 0.5, 0);
        gate.evaluate(0);
        let stricter = Settings { min: 0.9, ..gate.settings.clone() };
        let mut gate = gate.with_settings(stricter);
        assert_eq!(gate.position(), Position::Shut);
        assert_eq!(gate.mean(0).count, 10);
    }
}
