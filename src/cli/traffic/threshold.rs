//! When a run has failed: conditions such as `error_rate > 1%` or `candidate.p95 > 500ms`.
//!
//! Invariant: what cannot be told has failed, since a run that measured nothing must not pass.

use std::str::FromStr;

use serde::Serialize;

use super::args::{length, share};
use super::tally::{Figures, Group};

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    Queries,
    Users,
    Rate,
    ErrorRate,
    Average,
    P50,
    P95,
    P99,
    Max,
    Cost,
    Score,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// `1%`, `0.01`.
    Share,
    /// `500ms`, `2s`; milliseconds here.
    Time,
    /// `12`, `0.5`.
    Number,
}

impl Figure {
    const ALL: [(&str, Self); 11] = [
        ("queries", Self::Queries),
        ("users", Self::Users),
        ("rate", Self::Rate),
        ("error_rate", Self::ErrorRate),
        ("average", Self::Average),
        ("p50", Self::P50),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("max", Self::Max),
        ("cost", Self::Cost),
        ("score", Self::Score),
    ];

    const fn unit(self) -> Unit {
        match self {
            Self::ErrorRate => Unit::Share,
            Self::Average | Self::P50 | Self::P95 | Self::P99 | Self::Max => Unit::Time,
            Self::Queries | Self::Users | Self::Rate | Self::Cost | Self::Score => Unit::Number,
        }
    }

    fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Self::Queries => Some(figures.queries as f64),
            Self::Users => Some(figures.users as f64),
            Self::Rate => Some(figures.rate),
            Self::ErrorRate => figures.error_rate,
            Self::Average => figures.average_ms,
            Self::P50 => figures.p50_ms,
            Self::P95 => figures.p95_ms,
            Self::P99 => figures.p99_ms,
            Self::Max => figures.max_ms,
            Self::Cost => figures.cost,
            Self::Score => figures.score,
        }
    }
}

/// A condition under which a run has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    /// All together where no arm is named.
    group: Option<Group>,
    figure: Figure,
    /// Whether it fails above the limit, or below.
    above: bool,
    limit: f64,
}

/// What came of a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// As it was typed.
    pub(super) fail_if: String,
    /// What was measured: a share, milliseconds or a number; nothing where there was nothing to measure.
    pub(super) found: Option<f64>,
    /// Whether the run has failed by it.
    pub(super) failed: bool,
}

impl Threshold {
    /// Compares; `figures` gives an arm's, or those of all together.
    pub(super) fn judge<'a>(&self, figures: impl FnOnce(Option<Group>) -> &'a Figures) -> Verdict {
        let found = self.figure.of(figures(self.group));
        let failed = found.is_none_or(|found| if self.above { found > self.limit } else { found < self.limit });
        Verdict { fail_if: self.text.clone(), found, failed }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = r#"expected [ARM.]FIGURE > LIMIT or <, for example "error_rate > 1%" or "candidate.p95 > 500ms""#;
        let at = text.find(['<', '>']).ok_or(example)?;
        let (left, right) = (text[..at].trim(), text[at + 1..].trim());
        let (group, name) = match left.split_once('.') {
            Some((arm, name)) => {
                let words = Group::ALL.map(Group::as_str).join(", ");
                let group = Group::ALL.into_iter().find(|group| group.as_str() == arm);
                (Some(group.ok_or_else(|| format!("{arm:?} is no arm; there are {words}"))?), name)
            }
            None => (None, left),
        };
        let figure = Figure::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, figure)| figure);
        let figure = figure.ok_or_else(|| {
            format!("{name:?} is no figure; there are {}", Figure::ALL.map(|(known, _)| known).join(", "))
        })?;
        let limit = match figure.unit() {
            Unit::Share => share(right),
            Unit::Time => length(right).map(|length| length.as_secs_f64() * 1e3),
            Unit::Number => {
                let number = right.parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| "expected a number".to_owned())
            }
        };
        let limit = limit.map_err(|expected| format!("{right:?} is no limit of {name}: {expected}"))?;
        Ok(Self { text: text.to_owned(), group, figure, above: text[at..].starts_with('>'), limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_judged() {
        let figures =
            Figures { queries: 200, error_rate: Some(0.01), p95_ms: Some(500.0), rate: 50.0, ..Figures::default() };
        let rows = [
            ("error_rate > 1%", Some(0.01), false),
            ("error_rate>0.9%", Some(0.01), true),
            ("error_rate > 0.005", Some(0.01), true),
            ("candidate.p95 > 500ms", Some(500.0), false),
            ("candidate.p95 > 0.4s", Some(500.0), true),
            ("queries < 201", Some(200.0), true),
            ("rate < 50", Some(50.0), false),
            ("score < 0.5", None, true),
        ];
        for (text, found, failed) in rows {
            let threshold: Threshold = text.parse().unwrap();
            let verdict = threshold.judge(|group| {
                assert_eq!(group, text.starts_with("candidate").then_some(Group::Candidate));
                &figures
            });
            assert_eq!(verdict, Verdict { fail_if: text.to_owned(), found, failed });
        }
    }

    #[test]
    fn what_is_none_is_told_with_what_would_be_right() {
        let rows = [
            ("error_rate 1%", "for example"),
            ("errors > 1%", "there are queries, users, rate, error_rate"),
            ("both.p95 > 1s", "there are control, candidate, unknown"),
            ("p95 > 500", "with its unit"),
            ("p95 >= 500ms", "\"= 500ms\" is no limit of p95"),
            ("error_rate > 2", "from 0% to 100%"),
            ("cost > much", "expected a number"),
        ];
        for (text, expected) in rows {
            let found = text.parse::<Threshold>();
            assert!(found.clone().is_err_and(|mistake| mistake.contains(expected)), "{text}: {found:?}");
        }
    }
}
