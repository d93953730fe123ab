//! Families that tell of sampled exchanges and of judges.

use super::Kind::{Counter, Gauge};
use super::{Family, Observation, Samples};
use crate::domain::sampling::{Fate, Purpose};

/// See the module; told behind all others.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "pointsman_sampled_total",
        help: "Exchanges that were drawn, by what for (judge, samples) and what became of them: done (scored, or kept), \
            or why not (encoded, content_type, too_large, truncated, no_memory, not_json, no_answer, status, no_key, \
            queue_full, budget, failed, invalid, store). Routes that sample only.",
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
];

fn sampled(seen: &Observation<'_>, out: &mut Samples) {
    for (route, state) in seen.snapshot.config().routes.iter().zip(&seen.snapshot.routes) {
        for purpose in Purpose::ALL {
            let asked = match purpose {
                Purpose::Judge => route.judge.is_some(),
                Purpose::Samples => route.samples.is_some(),
            };
            for fate in Fate::ALL.into_iter().filter(|_| asked) {
                out.count(&[&route.name, purpose.as_str(), fate.as_str()], state.sampled(purpose, fate));
            }
        }
    }
}
