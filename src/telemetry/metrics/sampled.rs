//! Families that tell of sampled exchanges, of judges and of copies.

use super::Kind::{Counter, Gauge, Histogram};
use super::{Family, Observation, Samples};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::pairs::Preference;
use crate::domain::sampling::{Fate, Purpose};
use crate::live::RouteState;
use crate::live::shadows::Figures;

/// See the module; told behind all others.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "pointsman_sampled_total",
        help: "Exchanges that were drawn, by what for (judge, samples, shadow) and what became of them: done (scored, \
            kept, or copied), or why not (encoded, content_type, too_large, truncated, no_memory, not_json, no_answer, status, no_key, \
            queue_full, budget, failed, invalid, store, unhealthy, busy, rewrite). Routes that sample only.",
        kind: Counter,
        labels: &["route", "purpose", "result"],
        collect: sampled,
    },
    Family {
        name: "pointsman_judge_requests_total",
        help: "Requests to a judge by how they ended: ok, connect, timeout, status, invalid (no verdict, or no HTTP).",
        kind: Counter,
        labels: &["judge", "result"],
        collect: |seen, out| {
            for judge in seen.live.judges() {
                judge.state.results().for_each(|(result, count)| out.count(&[&judge.state.name, result], count));
            }
        },
    },
    Family {
        name: "pointsman_judge_waiting",
        help: "Exchanges that wait for a judge.",
        kind: Gauge,
        labels: &["judge"],
        collect: |seen, out| {
            seen.live.judges().iter().for_each(|judge| out.count(&[&judge.state.name], judge.state.waiting()));
        },
    },
    Family {
        name: "pointsman_shadow_percent",
        help: "Percentage of the requests that control serves of which the candidate gets copies now; routes with copies \
            only, here and below.",
        kind: Gauge,
        labels: &["route"],
        collect: |seen, out| by_route(seen, out, |name, state, _, out| out.value(&[name], state.shadow_percent())),
    },
    Family {
        name: "pointsman_shadow_attempts_total",
        help: "Copies by how they ended, in the words of pointsman_attempts_total, where they do not count.",
        kind: Counter,
        labels: &["route", "outcome"],
        collect: |seen, out| {
            by_route(seen, out, |name, _, figures, out| {
                for outcome in Outcome::ALL {
                    out.count(&[name, outcome.as_str()], figures.outcomes[outcome.index()]);
                }
            });
        },
    },
    Family {
        name: "pointsman_shadow_duration_seconds",
        help: "Duration of tries to the last byte, by arm, of the same requests: those that were copied and whose copies \
            were answered to the end.",
        kind: Histogram,
        labels: &["route", "arm"],
        collect: |seen, out| {
            by_route(seen, out, |name, _, figures, out| {
                for arm in Arm::ALL {
                    out.histogram(&[name, arm.as_str()], &figures.durations[arm.index()]);
                }
            });
        },
    },
    Family {
        name: "pointsman_shadow_response_bytes_total",
        help: "Bytes of the answers to the same requests, by arm.",
        kind: Counter,
        labels: &["route", "arm"],
        collect: |seen, out| {
            by_route(seen, out, |name, _, figures, out| {
                for arm in Arm::ALL {
                    out.count(&[name, arm.as_str()], figures.bytes[arm.index()]);
                }
            });
        },
    },
    Family {
        name: "pointsman_shadow_statuses_total",
        help: "Copied requests by the class of control's status and of the candidate's (none without an answer).",
        kind: Counter,
        labels: &["route", "control", "candidate"],
        collect: |seen, out| {
            by_route(seen, out, |name, _, figures, out| {
                for ([control, candidate], &count) in &figures.statuses {
                    out.count(&[name, control, candidate], count);
                }
            });
        },
    },
    Family {
        name: "pointsman_shadow_preferences_total",
        help: "Verdicts on pairs of answers to the same request, by which was better (control, candidate, tie).",
        kind: Counter,
        labels: &["route", "preference"],
        collect: |seen, out| {
            by_route(seen, out, |name, _, figures, out| {
                for preference in Preference::ALL {
                    out.count(&[name, preference.as_str()], figures.preferences[preference.index()]);
                }
            });
        },
    },
];

fn by_route(seen: &Observation<'_>, out: &mut Samples, collect: fn(&str, &RouteState, &Figures, &mut Samples)) {
    for state in seen.snapshot.routes.iter().filter(|state| has_copies(state)) {
        let figures = state.shadow.figures().clone();
        collect(&state.name, state, &figures, out);
    }
}

/// Whether there are copies, or were.
fn has_copies(state: &RouteState) -> bool {
    state.shadow_percent() > 0.0 || !state.shadow.figures().statuses.is_empty()
}

fn sampled(seen: &Observation<'_>, out: &mut Samples) {
    for (route, state) in seen.snapshot.config().routes.iter().zip(&seen.snapshot.routes) {
        for purpose in Purpose::ALL {
            let asked = match purpose {
                Purpose::Judge => route.judge.is_some(),
                Purpose::Samples => route.samples.is_some(),
                Purpose::Shadow => has_copies(state),
            };
            for fate in Fate::ALL.into_iter().filter(|_| asked) {
                out.count(&[&route.name, purpose.as_str(), fate.as_str()], state.sampled(purpose, fate));
            }
        }
    }
}
