//! Whether the comparison can be trusted: each doubt with what it means and what to do.

use super::super::evidence::{Measured, RouteEvidence, Stratum, UserSample};
use super::super::metric::BuiltIn;
use super::super::phase::Phase;
use super::super::statistics::{mismatch, sequential};
use super::combine::cell;
use super::novelty::novelty;
use super::report::{Finding, Severity};
use super::words::figure;
use super::{ARMS, Counted, Part, Question, Role, Term};

/// A share of users in both arms above this is a broken key.
const BOTH_ALARM: f64 = 0.01;
/// Above this it is worth a look.
const BOTH_WARNING: f64 = 0.001;
/// One of 1,024 buckets with this share of an arm's requests is a user, or few, that weigh too much.
const CONCENTRATED: f64 = 0.1;
/// Fewer buckets than this and the largest is large anyway.
const FEW_BUCKETS: f64 = 20.0;
/// A change over time is told when it is as unlikely as this by chance.
const NOVEL: f64 = 0.01;

/// Users over all strata, each once in an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Users {
    /// By `Arm::index`.
    pub(super) assigned: [f64; 2],
    pub(super) measured: [f64; 2],
}

pub(super) fn users(counted: &[Counted<'_>]) -> Users {
    let samples: Vec<&UserSample> = counted.iter().map(|of| &of.draw.users).collect();
    let (sampled, share) = UserSample::union(&samples);
    Users {
        assigned: sampled.assigned.map(|users| users / share),
        measured: sampled.measured.map(|users| users / share),
    }
}

pub(super) fn findings(
    evidence: &RouteEvidence,
    question: Question<'_>,
    counted: &[Counted<'_>],
    users: Users,
) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(mismatched(counted));
    found.extend(in_both(counted));
    found.extend(few_users(question, counted, users));
    found.extend(concentrated(evidence, counted));
    found.extend(changes(counted));
    found.extend(several_percentages(counted));
    found.extend(novel(evidence, question, counted));
    found.extend(dropped(evidence));
    found.extend(left_out(evidence, counted));
    found.sort_by_key(|finding| finding.severity);
    found
}

fn finding(code: &str, severity: Severity, what: String, meaning: &str, action: &str) -> Finding {
    Finding { code: code.to_owned(), severity, what, meaning: meaning.to_owned(), action: action.to_owned() }
}

/// The candidate's share of what is drawn, between 0 and 1, where there was one.
fn share(of: &Counted<'_>) -> Option<f64> {
    let share = of.draw.percent / 100.0;
    (!of.draw.mixed && share > 0.0 && share < 1.0).then_some(share)
}

/// Sample ratio mismatch, of the users that were assigned and of those that were measured. Factors of strata multiply.
fn mismatched(counted: &[Counted<'_>]) -> Option<Finding> {
    let (mut assigned, mut measured) = (0.0, 0.0);
    let (mut seen, mut expected) = ([0.0; 2], [0.0; 2]);
    for of in counted {
        let (Some(share), sampled) = (share(of), of.sampled) else { continue };
        assigned += mismatch::evidence(sampled.assigned, share).unwrap_or(0.0);
        measured += mismatch::evidence(sampled.measured, share).unwrap_or(0.0);
        let all = sampled.assigned[0] + sampled.assigned[1];
        (0..2).for_each(|arm| seen[arm] += sampled.assigned[arm]);
        expected[0] += all * (1.0 - share);
        expected[1] += all * share;
    }
    let (p_assigned, p_measured) = (sequential::p_value(assigned), sequential::p_value(measured));
    if p_assigned < mismatch::ALARM {
        let what = format!(
            "Sample ratio mismatch: {:.0} users of control and {:.0} of the candidate were drawn where {:.0} and {:.0} were expected (p = {}, valid at every look).",
            seen[0],
            seen[1],
            expected[0],
            expected[1],
            figure(p_assigned)
        );
        return Some(finding(
            "sample_ratio_mismatch",
            Severity::Alarm,
            what,
            "Something other than the hash decides who is in an arm, so the arms' users differ and no difference means anything.",
            "Look for keys that change between requests, for users that are drawn before they are recorded, or for bots; then begin a new phase with a new salt.",
        ));
    }
    (p_measured < mismatch::ALARM).then(|| finding("measured_ratio_mismatch", Severity::Alarm,
        format!("Users were drawn as planned, but those with a whole answer are not split as planned (p = {}, valid at every look).", figure(p_measured)),
        "One arm loses users before they are measured: it crashes, times out, or clients give up. Those who stay are the lucky ones.",
        "Compare errors, aborts and time to first byte of the arms; mend the arm that loses users, and begin a new phase."))
}

fn in_both(counted: &[Counted<'_>]) -> Option<Finding> {
    let worst = counted.iter().map(|of| {
        let sampled = of.sampled;
        sampled.both / (sampled.assigned[0] + sampled.assigned[1] - sampled.both).max(1.0)
    });
    let worst = worst.fold(0.0, f64::max);
    let severity = if worst > BOTH_ALARM {
        Severity::Alarm
    } else if worst > BOTH_WARNING {
        Severity::Warning
    } else {
        return None;
    };
    Some(finding(
        "users_in_both_arms",
        severity,
        format!("{} % of the users of one phase and stratum were in both arms.", figure(worst * 100.0)),
        "Their key stayed and their arm did not: what they saw of one arm counts for the other.",
        "Look for changes of the percentage that began no phase, or for replicas that run different configurations.",
    ))
}

fn few_users(question: Question<'_>, counted: &[Counted<'_>], users: Users) -> Option<Finding> {
    if counted.is_empty() {
        return Some(finding(
            "no_randomised_requests",
            Severity::Warning,
            "No request was drawn by a hash in this time.".to_owned(),
            "There is nothing to compare: whoever was served was listed, forced, not eligible, or had no key.",
            "Set a percentage between 0 and 100, and see with `pointsman explain` why users are not drawn.",
        ));
    }
    let least = question.settings.min_users;
    let [control, candidate] = users.assigned;
    (control < least || candidate < least).then(|| {
        finding(
            "few_users",
            Severity::Warning,
            format!("Control has {control:.0} users, the candidate {candidate:.0}; {least:.0} each are asked for."),
            "Intervals rest on many independent users; of few they are too narrow.",
            "Wait, or raise the percentage.",
        )
    })
}

fn concentrated(evidence: &RouteEvidence, counted: &[Counted<'_>]) -> Option<Finding> {
    let requests = Term { measured: Measured::BuiltIn(BuiltIn::Requests), part: Part::Count, scale: 1.0 };
    let mut worst: Option<(f64, super::Arm)> = None;
    for of in counted {
        for arm in ARMS {
            let Some(cell) = cell(evidence, of, arm, requests) else { continue };
            let used = cell.buckets().iter().filter(|sums| sums.count > 0.0).count() as f64;
            let all: f64 = cell.buckets().iter().map(|sums| sums.count).sum();
            let largest = cell.buckets().iter().map(|sums| sums.count).fold(0.0, f64::max) / all.max(1.0);
            if used >= FEW_BUCKETS && largest > CONCENTRATED && worst.is_none_or(|(known, _)| largest > known) {
                worst = Some((largest, arm));
            }
        }
    }
    let (largest, arm) = worst?;
    Some(finding(
        "concentrated",
        Severity::Warning,
        format!("One of 1,024 buckets of users makes {:.0} % of the requests of {arm}.", largest * 100.0),
        "One user, or few, weigh as much as hundreds: a test client, a crawler, a shared key.",
        "Find the key in the access log; list it as a target, so that it is left out, or give it a key of its own.",
    ))
}

fn changes(counted: &[Counted<'_>]) -> Option<Finding> {
    let mut phases: Vec<Phase> = counted.iter().map(|of| of.phase).collect();
    phases.sort_unstable();
    phases.dedup();
    (phases.len() > 1).then(|| finding("changed_meanwhile", Severity::Note,
        format!("The split or an arm changed while it ran: {} phases are compared, each in itself.", phases.len()),
        "Differences are taken within phases and then joined, so a new percentage does no harm; another version of an arm is another question.",
        "If an arm changed, set `start` to the time of the change, so that only what runs now counts."))
}

fn several_percentages(counted: &[Counted<'_>]) -> Option<Finding> {
    counted.iter().any(|of| of.draw.mixed).then(|| {
        finding(
            "several_percentages",
            Severity::Warning,
            "In one phase and stratum users were drawn by several percentages.".to_owned(),
            "How many users each arm should have is not known there, so the ratio is not tested.",
            "See that all replicas run one configuration.",
        )
    })
}

fn novel(evidence: &RouteEvidence, question: Question<'_>, counted: &[Counted<'_>]) -> Vec<Finding> {
    let watched = question.metrics.iter().filter(|metric| metric.role != Role::Exploratory);
    let found = watched.filter_map(|metric| {
        let novelty = novelty(evidence, counted, metric).filter(|novelty| novelty.p < NOVEL)?;
        let what = format!(
            "{}: the difference was {} in the first {} days and {} after (p = {}, one look).",
            metric.name,
            figure(novelty.early),
            novelty.days,
            figure(novelty.late),
            figure(novelty.p)
        );
        Some(finding(
            "novelty",
            Severity::Warning,
            what,
            "The beginning was another thing than what lasts: people try what is new, caches fill, bugs are mended.",
            "Let it run until the later days alone decide; set `start` after the first days.",
        ))
    });
    found.collect()
}

fn dropped(evidence: &RouteEvidence) -> Option<Finding> {
    (evidence.dropped > 0).then(|| {
        finding(
            "evidence_dropped",
            Severity::Warning,
            format!("{} observations found no room in the route's 16 MiB of evidence.", evidence.dropped),
            "Metrics that came late are incomplete in both arms alike.",
            "Measure fewer metrics, or change the split less often.",
        )
    })
}

fn left_out(evidence: &RouteEvidence, counted: &[Counted<'_>]) -> Option<Finding> {
    let phases: Vec<Phase> = counted.iter().map(|of| of.phase).collect();
    let requests = Measured::BuiltIn(BuiltIn::Requests);
    let of = |fixed: bool| -> f64 {
        let cells = evidence.cells().filter(|(key, _)| {
            key.metric == requests && phases.contains(&key.phase) && (key.stratum == Stratum::Fixed) == fixed
        });
        cells.map(|(_, cell)| cell.total().count).sum()
    };
    let (fixed, drawn) = (of(true), of(false));
    (fixed > 0.0).then(|| finding("left_out", Severity::Note,
        format!("{fixed:.0} requests were not drawn by a hash and are left out, beside {drawn:.0} that were."),
        "Listed, forced, overridden and ineligible users, fixed rules and requests without a key differ from the others, so comparing them would mislead.",
        "Nothing, unless they are more than you meant: `pointsman explain` tells why a user is not drawn."))
}
