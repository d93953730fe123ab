//! From two estimates to a verdict in words and numbers.
//!
//! Superiority is read from the always-valid interval. A guard has two one-sided bounds: worse where the lower one is above
//! zero, no worse where the upper one is below the margin. The level is the primary metric's own; exploratory metrics
//! share one, and so do the guards' alarms; guards that pass need no correction, since all have to (Schultzberg, Ankargren,
//! Frånberg 2024, arXiv 2402.11609).

use super::super::evidence::RouteEvidence;
use super::super::metric::{Better, Kind};
use super::super::series::Seconds;
use super::super::statistics::distributions::normal_upper_quantile;
use super::super::statistics::sequential::{self, half_width, half_width_one_sided, target_variance, tuning};
use super::super::statistics::{Estimate, Interval, means, ratio};
use super::combine::{Comparison, Shortfall};
use super::health::Users;
use super::report::{Difference, MetricReport, Range, Verdict};
use super::words::{duration, figure, percent};
use super::{Counted, Margin, Metric, Role, Settings, Shares, beside, quantiles};

/// Beyond so many times the data there is no point in waiting.
const MOST_GROWTH: f64 = 1e4;
/// Nor beyond so many seconds: ten years.
const LONGEST: f64 = 3.2e8;
/// With fewer buckets of users in an arm nothing is decided, unless fewer are asked for.
const FEWEST: f64 = 100.0;

/// Judges the metrics of one experiment.
pub(super) struct Judge<'a> {
    pub(super) settings: &'a Settings,
    pub(super) shares: Shares,
    pub(super) elapsed: Seconds,
    pub(super) users: Users,
}

/// What was found by the metric's role.
struct Found {
    verdict: Verdict,
    words: String,
    decision_in: Option<Seconds>,
    harm: Option<Range>,
}

impl Judge<'_> {
    pub(super) fn metric(
        &self,
        evidence: &RouteEvidence,
        counted: &[Counted<'_>],
        metric: &Metric,
        found: &Result<Comparison, Shortfall>,
    ) -> MetricReport {
        let mut report = blank(metric);
        let comparison = match found {
            Ok(comparison) => comparison,
            Err(shortfall) => {
                report.words = unknown(*shortfall);
                return report;
            }
        };
        report.control = Some(comparison.control.value);
        report.candidate = Some(comparison.candidate.value);
        report.denominators = comparison.denominators;
        report.clusters = comparison.clusters;
        report.strata = [comparison.strata, comparison.strata_left_out];
        report.quantiles = quantiles::of(evidence, counted, metric, self.settings.alpha);
        report.slower = beside::slower(evidence, counted, metric, self.settings);
        report.by_request = beside::by_request(evidence, counted, metric, self.settings.alpha);
        let Some(difference) = comparison.difference() else {
            report.words = unknown(Shortfall::NotNumeric);
            return report;
        };
        if difference.variance <= 0.0 {
            report.difference = Some(Difference {
                value: difference.value,
                standard_error: None,
                fixed_horizon: None,
                always_valid: None,
            });
            report.words = no_spread(comparison);
            if let (Role::Guard(margin), true) = (metric.role, never_bad(metric, comparison)) {
                let found = self.never(metric, margin, comparison);
                (report.verdict, report.words) = (found.verdict, found.words);
                (report.decision_in_seconds, report.harm) = (found.decision_in, found.harm);
            }
            return report;
        }
        let alpha = self.alpha(metric);
        let tau2 = self.tau2(self.settings.effect * scale(comparison), alpha);
        let test = means::student(difference, comparison.degrees(), self.settings.alpha);
        report.p_fixed_horizon = test.map(|test| test.p);
        report.p_always_valid = Some(sequential::p_value(sequential::ln_e_value(difference, tau2)));
        report.difference = Some(Difference {
            value: difference.value,
            standard_error: Some(difference.standard_error()),
            fixed_horizon: test.and_then(|test| Range::of(test.interval)),
            always_valid: Range::of(sequential::interval(difference, tau2, alpha)),
        });
        report.relative = self.relative(comparison, alpha);
        let found = match metric.role {
            Role::Primary | Role::Exploratory => self.superiority(metric, difference, comparison, alpha),
            Role::Guard(margin) => self.guard(metric, margin, comparison),
        };
        let too_few = self.too_few(comparison);
        let found = if too_few { self.found(Verdict::Undecided, few(comparison), None, None) } else { found };
        (report.verdict, report.words) = (found.verdict, found.words);
        (report.decision_in_seconds, report.harm) = (found.decision_in, found.harm);
        report
    }

    /// Whether there are too few users with values for intervals to hold.
    fn too_few(&self, comparison: &Comparison) -> bool {
        let [control, candidate] = comparison.clusters;
        control.min(candidate) < self.settings.min_users.min(FEWEST)
    }

    /// The level of a metric's interval.
    fn alpha(&self, metric: &Metric) -> f64 {
        match metric.role {
            Role::Primary | Role::Guard(_) => self.settings.alpha,
            Role::Exploratory => self.settings.alpha / self.shares.exploratory as f64,
        }
    }

    /// The mixing variance for differences of this size. It depends on the data through the size of control alone, which is
    /// known long before the difference is.
    fn tau2(&self, effect: f64, alpha: f64) -> f64 {
        tuning(target_variance(effect, self.settings.alpha, self.settings.power), alpha).max(f64::MIN_POSITIVE)
    }

    fn relative(&self, comparison: &Comparison, alpha: f64) -> Option<Difference> {
        let tau2 = self.tau2(self.settings.effect, alpha);
        if let Some(relative) = comparison.relative() {
            let test = means::student(relative, comparison.degrees(), self.settings.alpha);
            return Some(Difference {
                value: relative.value,
                standard_error: Some(relative.standard_error()),
                fixed_horizon: test.and_then(|test| Range::of(test.interval)),
                always_valid: Range::of(sequential::interval(relative, tau2, alpha)),
            });
        }
        let z = normal_upper_quantile(self.settings.alpha / 2.0);
        let (c, t) = (comparison.control, comparison.candidate);
        let interval = ratio::fieller(c, t, comparison.covariance, z)?;
        let value = (t.value - c.value) / c.value.abs();
        value.is_finite().then(|| Difference {
            value,
            standard_error: None,
            fixed_horizon: Range::of(interval),
            always_valid: None,
        })
    }

    fn superiority(&self, metric: &Metric, difference: Estimate, comparison: &Comparison, alpha: f64) -> Found {
        let tau2 = self.tau2(self.settings.effect * scale(comparison), alpha);
        let interval = sequential::interval(difference, tau2, alpha);
        let sign = direction(metric);
        let (gain_low, gain_high) =
            if sign > 0.0 { (-interval.upper, -interval.lower) } else { (interval.lower, interval.upper) };
        let between = between(metric, interval);
        let (verdict, words) = if gain_low > 0.0 {
            (Verdict::Better, format!("better: the difference is {between}"))
        } else if gain_high < 0.0 {
            (Verdict::Worse, format!("worse: the difference is {between}"))
        } else {
            (Verdict::Undecided, format!("not decided yet: the difference is {between}"))
        };
        let decision_in = (verdict == Verdict::Undecided).then(|| {
            self.wait(|growth| difference.value.abs() > half_width(difference.variance / growth, tau2, alpha))
        });
        self.found(verdict, words, decision_in, None)
    }

    fn guard(&self, metric: &Metric, margin: Margin, comparison: &Comparison) -> Found {
        let (settings, sign) = (self.settings, direction(metric));
        let size = comparison.control.value;
        let tolerated = margin.relative * size.abs() + margin.absolute;
        let beyond = comparison.contrast(sign, sign + margin.relative * size.signum());
        let (Some(harm), Some(beyond)) = (comparison.contrast(sign, sign), beyond) else {
            return self.found(Verdict::Unknown, unknown(Shortfall::NotNumeric), None, None);
        };
        let beyond = Estimate { value: beyond.value - margin.absolute, ..beyond };
        let alarm = settings.alpha / self.shares.guards as f64;
        let tau2 = self.tau2(tolerated, 2.0 * settings.alpha);
        let width = |variance, alpha| half_width_one_sided(variance, tau2, alpha);
        let lower = harm.value - width(harm.variance, alarm);
        let upper = beyond.value + width(beyond.variance, settings.alpha) + tolerated;
        let limit = limit(metric, tolerated);
        let (verdict, words) = if upper < tolerated {
            (Verdict::NoWorse, format!("no worse than the margin: by at most {}, {limit}", amount(metric, upper)))
        } else if lower > 0.0 {
            (Verdict::Worse, format!("worse: by at least {}, {limit}", amount(metric, lower)))
        } else {
            (Verdict::Undecided, format!("not decided yet: worse by at most {}, {limit}", amount(metric, upper)))
        };
        let decision_in = (verdict == Verdict::Undecided).then(|| {
            self.wait(|growth| {
                beyond.value + width(beyond.variance / growth, settings.alpha) < 0.0
                    || harm.value - width(harm.variance / growth, alarm) > 0.0
            })
        });
        self.found(verdict, words, decision_in, Range::of(Interval { lower, upper }))
    }

    /// A guard of what happened to nobody in either arm. Against a share of at least `d`, the likelihood ratio of none in `n`
    /// users, `(1 - d)^-n`, is an e-value at every look; half of the level is its, the other half the normal bound's, which
    /// takes over with the first that happens. Users count less where few make most requests.
    fn never(&self, metric: &Metric, margin: Margin, comparison: &Comparison) -> Found {
        let users = self.users.assigned[1] * comparison.evenness[1];
        let bound = |users: f64| 1.0 - (self.settings.alpha / 2.0).powf(1.0 / users.max(1.0));
        let size = if comparison.control.value == 0.0 { 0.0 } else { margin.relative };
        let (upper, tolerated) = (bound(users), size + margin.absolute);
        if tolerated == 0.0 {
            let words = "not decided yet: it happened to nobody, and a share of nothing is nothing: give the guard `absolute`, too";
            return self.found(Verdict::Undecided, words.to_owned(), None, None);
        }
        let harm = Range::of(Interval { lower: 0.0, upper });
        let limit = limit(metric, tolerated);
        let told = format!("it happened to nobody; worse by at most {}, {limit}", amount(metric, upper));
        if upper < tolerated {
            return self.found(Verdict::NoWorse, format!("no worse than the margin: {told}"), None, harm);
        }
        let decision_in = self.wait(|growth| bound(users * growth) < tolerated);
        self.found(Verdict::Undecided, format!("not decided yet: {told}"), Some(decision_in), harm)
    }

    fn found(&self, verdict: Verdict, words: String, wait: Option<Option<Seconds>>, harm: Option<Range>) -> Found {
        let words = match wait {
            None => words,
            Some(Some(seconds)) => {
                format!("{words}; at the present traffic and difference expected in {}", duration(seconds))
            }
            Some(None) => format!("{words}; not to be expected at the present traffic and difference"),
        };
        Found { verdict, words, decision_in: wait.flatten(), harm }
    }

    /// How long until this holds, if the data grow as so far and what was found stays: their variance falls as they grow.
    fn wait(&self, decided: impl Fn(f64) -> bool) -> Option<Seconds> {
        if self.elapsed <= 0 || !decided(MOST_GROWTH) {
            return None;
        }
        let (mut low, mut high) = (0.0, MOST_GROWTH.ln());
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if decided(middle.exp()) { high = middle } else { low = middle }
        }
        let seconds = self.elapsed as f64 * (high.exp() - 1.0);
        (seconds < LONGEST).then_some(seconds.ceil() as Seconds)
    }
}

/// +1 where more is worse, -1 where less is.
fn direction(metric: &Metric) -> f64 {
    match metric.better {
        Better::Lower => 1.0,
        Better::Higher => -1.0,
    }
}

/// Whether every value of both arms is the good one of two.
fn never_bad(metric: &Metric, comparison: &Comparison) -> bool {
    let good = match metric.better {
        Better::Lower => 0.0,
        Better::Higher => 1.0,
    };
    metric.kind == Kind::Occurrence && comparison.control.value == good && comparison.candidate.value == good
}

/// The size of what is compared: control's, or the candidate's where control is nearer to zero.
fn scale(comparison: &Comparison) -> f64 {
    comparison.control.value.abs().max(comparison.candidate.value.abs())
}

fn blank(metric: &Metric) -> MetricReport {
    let (role, margin) = match metric.role {
        Role::Primary => ("primary", None),
        Role::Guard(margin) => ("guard", Some(margin.into())),
        Role::Exploratory => ("exploratory", None),
    };
    MetricReport {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        kind: metric.kind.as_str().to_owned(),
        better: metric.better.as_str().to_owned(),
        role: role.to_owned(),
        margin,
        verdict: Verdict::Unknown,
        words: String::new(),
        control: None,
        candidate: None,
        difference: None,
        relative: None,
        harm: None,
        p_fixed_horizon: None,
        p_always_valid: None,
        decision_in_seconds: None,
        denominators: [0.0; 2],
        clusters: [0.0; 2],
        strata: [0; 2],
        quantiles: Vec::new(),
        slower: None,
        by_request: None,
    }
}

fn amount(metric: &Metric, number: f64) -> String {
    if !number.is_finite() {
        return "without a bound".to_owned();
    }
    if metric.unit.is_empty() { figure(number) } else { format!("{} {}", figure(number), metric.unit) }
}

fn limit(metric: &Metric, tolerated: f64) -> String {
    let Role::Guard(margin) = metric.role else { return String::new() };
    if margin.absolute == 0.0 {
        format!("of {} ({} of control) that are tolerated", amount(metric, tolerated), percent(margin.relative))
    } else {
        format!("of {} that are tolerated", amount(metric, tolerated))
    }
}

fn between(metric: &Metric, interval: Interval) -> String {
    format!("between {} and {}", amount(metric, interval.lower), amount(metric, interval.upper))
}

fn no_spread(comparison: &Comparison) -> String {
    let (c, t) = (comparison.control.value, comparison.candidate.value);
    if c == t {
        format!("not decided yet: every user of both arms has {}, so nothing is known of the spread", figure(c))
    } else {
        format!(
            "not decided yet: every user of control has {} and every one of the candidate {}, so nothing is known of the spread",
            figure(c),
            figure(t)
        )
    }
}

fn few(comparison: &Comparison) -> String {
    let [control, candidate] = comparison.clusters;
    format!("not decided yet: too few users have values (control {control:.0}, candidate {candidate:.0})")
}

fn unknown(shortfall: Shortfall) -> String {
    match shortfall {
        Shortfall::NoData => "unknown: no randomised request has a value".to_owned(),
        Shortfall::EmptyArm(arm) => format!("unknown: no randomised request of {arm} has a value"),
        Shortfall::OneCluster(arm) => {
            format!("unknown: all values of {arm} come from one bucket of users, perhaps one user")
        }
        Shortfall::NeverTogether => "unknown: no phase and stratum has values of both arms".to_owned(),
        Shortfall::NotNumeric => {
            "unknown: its numbers are too large to be compared, or what is below the line is not above zero".to_owned()
        }
    }
}
