//! The table of all metrics, and where their values come from.

use std::collections::BTreeMap;

use super::Kind::{Counter, Gauge, Histogram};
use super::beside::{alert_deliveries, alerts_firing, breakers, endpoints, in_flight, rate_limited};
use super::read::{budgets, by_read_arm, has_prices, tokens, unread};
use super::{Family, Observation, Samples, rollout};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::fallback::Cause;
use crate::domain::pin;
use crate::domain::quality::Position;
use crate::jwt::Rejection;
use crate::live::Snapshot;
use crate::measure::RouteTotals;
use crate::measure::counters::BodyMiss;

/// Every metric, in the order in which they are told.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "pointsman_requests_total",
        help: "Requests by the arm that was assigned, the arm that served, why, and the class of the status that \
            the client saw.",
        kind: Counter,
        labels: &["route", "assigned", "served", "reason", "code_class"],
        collect: |seen, out| by_route(seen, out, requests),
    },
    Family {
        name: "pointsman_attempts_total",
        help: "Tries at an arm by outcome; a failure that control covered up counts here.",
        kind: Counter,
        labels: &["route", "arm", "outcome"],
        collect: |seen, out| by_route(seen, out, attempts),
    },
    Family {
        name: "pointsman_request_duration_seconds",
        help: "From arrival to the last byte, by the arm that served.",
        kind: Histogram,
        labels: &["route", "served"],
        collect: |seen, out| by_arm(seen, out, |totals, arm, labels, out| out.histogram(labels, &totals.duration[arm])),
    },
    Family {
        name: "pointsman_time_to_first_byte_seconds",
        help: "From sending a try to its response head, by the arm that was tried.",
        kind: Histogram,
        labels: &["route", "arm"],
        collect: |seen, out| {
            by_arm(seen, out, |totals, arm, labels, out| out.histogram(labels, &totals.first_byte[arm]))
        },
    },
    Family {
        name: "pointsman_overhead_seconds",
        help: "The gateway's own time: from arrival to the response head, less the time spent on backends and on bodies of \
            clients that the decision or a rewriting waits for.",
        kind: Histogram,
        labels: &["route"],
        collect: |seen, out| by_route(seen, out, |route, totals, out| out.histogram(&[route], &totals.overhead)),
    },
    Family {
        name: "pointsman_fallbacks_total",
        help: "Requests that control answered after the candidate failed or because it had no room (busy), by cause.",
        kind: Counter,
        labels: &["route", "cause"],
        collect: |seen, out| by_route(seen, out, |route, totals, out| causes(route, &totals.fallbacks, out)),
    },
    Family {
        name: "pointsman_fallbacks_suppressed_total",
        help: "Requests that control was not allowed to answer after the candidate failed or because it had no room, \
            by cause.",
        kind: Counter,
        labels: &["route", "cause"],
        collect: |seen, out| by_route(seen, out, |route, totals, out| causes(route, &totals.suppressed, out)),
    },
    Family {
        name: "pointsman_keyless_requests_total",
        help: "Requests without a key to split by; control serves these.",
        kind: Counter,
        labels: &["route"],
        collect: |seen, out| by_route(seen, out, |route, totals, out| out.count(&[route], totals.keyless)),
    },
    Family {
        name: "pointsman_pins_rejected_total",
        help: "Pins of conversations that did not count: malformed, forged, foreign (another route or conversation), \
            expired. Routes with a pin only.",
        kind: Counter,
        labels: &["route", "reason"],
        collect: pins_rejected,
    },
    Family {
        name: "pointsman_tokens_total",
        help: "Tokens that the answers of an arm told of, by direction (input, output); arms whose backend has prices, \
            and all where a metric is read from usage.",
        kind: Counter,
        labels: &["route", "arm", "direction"],
        collect: |seen, out| by_read_arm(seen, out, Snapshot::reads_usage, tokens),
    },
    Family {
        name: "pointsman_cost_total",
        help: "What these tokens cost, in the currency of the backend's prices.",
        kind: Counter,
        labels: &["route", "arm"],
        collect: |seen, out| {
            by_read_arm(seen, out, has_prices, |read, [route, arm], out| out.value(&[route, arm], read.cost));
        },
    },
    Family {
        name: "pointsman_time_to_first_token_seconds",
        help: "From sending a try to the first token of a streamed answer.",
        kind: Histogram,
        labels: &["route", "arm"],
        collect: |seen, out| {
            let reads = Snapshot::reads_usage;
            by_read_arm(seen, out, reads, |read, [route, arm], out| out.histogram(&[route, arm], &read.first_token));
        },
    },
    Family {
        name: "pointsman_answers_unread_total",
        help: "Answers of which nothing is known although metrics or costs are read from them, by reason (encoded, \
            content_type, truncated, timeout, client_gone, too_long, no_memory, not_json, no_usage); never taken for zero.",
        kind: Counter,
        labels: &["route", "arm", "reason"],
        collect: |seen, out| by_read_arm(seen, out, Snapshot::reads_answers, unread),
    },
    Family {
        name: "pointsman_rollout_percent",
        help: "Percentage of the users that get the candidate now: the file's, or the rollout's stage's, or a cap; 0 while \
            it is rolled back or unknown.",
        kind: Gauge,
        labels: &["route"],
        collect: rollout::percent,
    },
    Family {
        name: "pointsman_rollout_state",
        help: "1 for the state in which a route's rollout is (draft, running, held, awaiting_approval, rolled_back, \
            watching, completed; state_unknown while the store does not tell), 0 for the others.",
        kind: Gauge,
        labels: &["route", "state"],
        collect: rollout::states,
    },
    Family {
        name: "pointsman_guard_state",
        help: "1 for what a guard sees now (holds: its condition holds; fails; not_enough_data), 0 for the others.",
        kind: Gauge,
        labels: &["route", "guard", "verdict"],
        collect: rollout::guards,
    },
    Family {
        name: "pointsman_effective_percent",
        help: "Percentage of requests assigned to the candidate since the start, among those that the hash drew \
            against the route's own percentage. Compare it with pointsman_rollout_percent.",
        kind: Gauge,
        labels: &["route"],
        collect: |seen, out| by_route(seen, out, effective_percent),
    },
    Family {
        name: "pointsman_evidence_bytes",
        help: "Memory of a route's evidence: sums by phase, arm, metric and bucket of users; at most 16 MiB.",
        kind: Gauge,
        labels: &["route"],
        collect: |seen, out| {
            for route in &seen.snapshot.routes {
                out.count(&[&route.name], route.evidence().0);
            }
        },
    },
    Family {
        name: "pointsman_evidence_dropped_total",
        help: "Observations that found no room in a route's evidence.",
        kind: Counter,
        labels: &["route"],
        collect: |seen, out| {
            for route in &seen.snapshot.routes {
                out.count(&[&route.name], route.evidence().1);
            }
        },
    },
    Family {
        name: "pointsman_route_enabled",
        help: "1 while the route may use its candidate, 0 while its kill switch is thrown or the candidate has no URL.",
        kind: Gauge,
        labels: &["route"],
        collect: route_enabled,
    },
    Family {
        name: "pointsman_quality_gate_open",
        help: "1 while the quality gate lets the candidate serve, 0 while it is shut or probing; routes with a gate \
            only.",
        kind: Gauge,
        labels: &["route"],
        collect: gates,
    },
    Family {
        name: "pointsman_breaker_state",
        help: "Circuit breaker of a backend: 0 closed, 1 half-open, 2 open.",
        kind: Gauge,
        labels: &["backend"],
        collect: breakers,
    },
    Family {
        name: "pointsman_backend_rate_limited",
        help: "1 while a backend has asked to be left alone (429 with retry-after).",
        kind: Gauge,
        labels: &["backend"],
        collect: rate_limited,
    },
    Family {
        name: "pointsman_budget_used_ratio",
        help: "Share of a backend's daily budget that this process has spent today (UTC); from 1 on, control serves.",
        kind: Gauge,
        labels: &["backend"],
        collect: budgets,
    },
    Family {
        name: "pointsman_backend_in_flight",
        help: "Requests under way at a backend.",
        kind: Gauge,
        labels: &["backend"],
        collect: in_flight,
    },
    Family {
        name: "pointsman_endpoint_addresses",
        help: "Addresses that an endpoint's name resolves to; 0 means that it cannot be reached.",
        kind: Gauge,
        labels: &["backend", "endpoint"],
        collect: |seen, out| endpoints(seen, out, |status| status.address.is_some()),
    },
    Family {
        name: "pointsman_endpoint_healthy_addresses",
        help: "Addresses of an endpoint that health checks, if any, find well.",
        kind: Gauge,
        labels: &["backend", "endpoint"],
        collect: |seen, out| endpoints(seen, out, |status| status.healthy),
    },
    Family {
        name: "pointsman_requests_in_flight",
        help: "Client requests under way, tunnels among them.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| {
            let finished = seen.workers(|worker| &worker.finished);
            out.count(&[], seen.workers(|worker| &worker.started).saturating_sub(finished));
        },
    },
    Family {
        name: "pointsman_connections",
        help: "Client connections that are open.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| {
            let closed = seen.workers(|worker| &worker.disconnections);
            out.count(&[], seen.workers(|worker| &worker.connections).saturating_sub(closed));
        },
    },
    Family {
        name: "pointsman_connections_accepted_total",
        help: "Client connections accepted.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.connections)),
    },
    Family {
        name: "pointsman_connections_refused_total",
        help: "Client connections closed at once because limits.max_connections was reached.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.connections_refused)),
    },
    Family {
        name: "pointsman_requests_unrouted_total",
        help: "Requests that no route takes: 404 no_route. They have no line in the access log.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.unrouted)),
    },
    Family {
        name: "pointsman_requests_rejected_total",
        help: "Requests that the gateway itself refused as malformed or too large, answered with 400, 413, 414, 431 or \
            501, or closed because they began as HTTP/2. Those of a route stand in pointsman_requests_total as well; \
            the others have no line in the access log. Bodies of /v1/events count in pointsman_events_total.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.rejected)),
    },
    Family {
        name: "pointsman_untrusted_identity_total",
        help: "Identity headers ignored because their peer is outside listen.trusted_proxies.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.untrusted_identity)),
    },
    Family {
        name: "pointsman_unreadable_attributes_total",
        help: "Values that could not be read as the type of their attribute in [contexts]; they count as missing.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.unreadable_attributes)),
    },
    Family {
        name: "pointsman_body_attributes_missed_total",
        help: "Request bodies that attributes or keys in [contexts] come from and of which nothing could be read, by \
            reason (too_large, no_memory, content_type, content_encoding, not_json, too_deep); these are missing.",
        kind: Counter,
        labels: &["reason"],
        collect: |seen, out| {
            for miss in BodyMiss::ALL {
                out.count(&[miss.as_str()], seen.workers(|worker| &worker.body_misses[miss.index()]));
            }
        },
    },
    Family {
        name: "pointsman_jwt_rejected_total",
        help: "Tokens that do not count, by reason; their requests are served as if they had none.",
        kind: Counter,
        labels: &["reason"],
        collect: |seen, out| {
            for reason in Rejection::ALL {
                let count = seen.live.workers.iter().map(|worker| worker.jwt_rejected[reason.index()].get()).sum();
                out.count(&[reason.as_str()], count);
            }
        },
    },
    Family {
        name: "pointsman_jwks_keys",
        help: "Keys in use of those that the issuer of tokens publishes.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| seen.jwks().for_each(|jwks| out.count(&[], jwks.ring().keys.len() as u64)),
    },
    Family {
        name: "pointsman_jwks_last_success_timestamp_seconds",
        help: "When these keys were last fetched, in seconds since 1970; 0 before that.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| seen.jwks().for_each(|jwks| out.value(&[], jwks.succeeded_at() as f64 / 1_000.0)),
    },
    Family {
        name: "pointsman_jwks_refreshes_total",
        help: "Attempts to fetch these keys by result (success, failure); after a failure the old ones stay.",
        kind: Counter,
        labels: &["result"],
        collect: |seen, out| {
            for (successes, failures) in seen.jwks().map(|jwks| jwks.refreshes()) {
                out.count(&["success"], successes);
                out.count(&["failure"], failures);
            }
        },
    },
    Family {
        name: "pointsman_request_panics_total",
        help: "Connections that ended in a panic of the gateway; anything but 0 is a mistake of ours.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.panics)),
    },
    Family {
        name: "pointsman_records_dropped_total",
        help: "Records of requests lost to windows and gates because their queue was full; the counts here stay exact.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.workers(|worker| &worker.records_dropped)),
    },
    Family {
        name: "pointsman_access_log_lines_dropped_total",
        help: "Lines of the access log lost because their queue was full.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.access_dropped),
    },
    Family {
        name: "pointsman_store_up",
        help: "1 while the store is open and the last that was written and read could be, else 0: then events are \
            refused, and traffic goes on.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], u64::from(seen.intake.store().is_up())),
    },
    Family {
        name: "pointsman_store_size_bytes",
        help: "Bytes of the store in use, as of the last look (every 10 seconds).",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.intake.store().last_size()),
    },
    Family {
        name: "pointsman_store_failures_total",
        help: "Operations of the store that failed.",
        kind: Counter,
        labels: &["operation"],
        collect: |seen, out| {
            seen.intake.store().failures().for_each(|(operation, count)| out.count(&[operation], count));
        },
    },
    Family {
        name: "pointsman_alerts_firing",
        help: "Alerts that fire.",
        kind: Gauge,
        labels: &["severity"],
        collect: alerts_firing,
    },
    Family {
        name: "pointsman_alert_deliveries_total",
        help: "Messages by what came of them: `delivered`; `failed`, a try of which another may follow; `given_up`.",
        kind: Counter,
        labels: &["webhook", "result"],
        collect: alert_deliveries,
    },
    Family {
        name: "pointsman_alerts_dropped_total",
        help: "What was to be told and is lost, because too much waited.",
        kind: Counter,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.alerts.dropped()),
    },
    Family {
        name: "pointsman_store_pruned_total",
        help: "Events, kept exchanges and entries of the history that were removed because of their age (state.keep_events), or \
            because of the store's size (state.max_size).",
        kind: Counter,
        labels: &["cause"],
        collect: |seen, out| seen.intake.pruned().for_each(|(cause, count)| out.count(&[cause], count)),
    },
    Family {
        name: "pointsman_events_total",
        help: "Events by what became of them: stored, duplicate (the id is known), refused (a mistake of the sender), \
            busy (too many, or the store's queue is full), failed (no store). A batch that cannot be read counts once.",
        kind: Counter,
        labels: &["result"],
        collect: |seen, out| seen.intake.results().for_each(|(result, count)| out.count(&[result], count)),
    },
    Family {
        name: "pointsman_exposure_rejected_total",
        help: "Exposure tokens that came with events and were refused: malformed, foreign (another key or route), \
            forged, old.",
        kind: Counter,
        labels: &["reason"],
        collect: |seen, out| seen.intake.rejected().for_each(|(reason, count)| out.count(&[reason], count)),
    },
    Family {
        name: "pointsman_config_info",
        help: "The running configuration: its hash and its generation; always 1.",
        kind: Gauge,
        labels: &["hash", "generation"],
        collect: |seen, out| {
            let generation = seen.snapshot.generation.to_string();
            out.count(&[&seen.snapshot.config().hash, &generation], 1);
        },
    },
    Family {
        name: "pointsman_config_last_reload_successful",
        help: "1 unless the last attempt to load the configuration failed.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], u64::from(!seen.reloads.failed)),
    },
    Family {
        name: "pointsman_config_last_reload_success_timestamp_seconds",
        help: "When a configuration was last published, in seconds since 1970.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| {
            if let Some(at) = seen.reloads.succeeded_at {
                out.value(&[], at.as_duration().as_secs_f64());
            }
        },
    },
    Family {
        name: "pointsman_config_reloads_total",
        help: "Attempts to reload by result (applied, unchanged, failed) and trigger (watch, poll, signal, api).",
        kind: Counter,
        labels: &["result", "trigger"],
        collect: |seen, out| {
            let counts: BTreeMap<_, _> = seen.reloads.counts.iter().collect();
            counts.into_iter().for_each(|((result, trigger), &count)| out.count(&[result, trigger], count));
        },
    },
    Family {
        name: "pointsman_config_restart_required",
        help: "Keys that were changed in the file and take effect only after a restart.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.reloads.restart_required.len() as u64),
    },
    Family {
        name: "pointsman_config_watch_info",
        help: "How changes of the configuration are noticed (inotify+poll, poll); always 1.",
        kind: Gauge,
        labels: &["mode"],
        collect: |seen, out| {
            if !seen.reloads.watching.is_empty() {
                out.count(&[seen.reloads.watching], 1);
            }
        },
    },
    Family {
        name: "pointsman_ready",
        help: "1 while the process wants traffic, 0 once it is stopping; it does not depend on backends.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], u64::from(seen.live.is_ready())),
    },
    Family {
        name: "pointsman_workers",
        help: "Worker threads that serve requests.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.count(&[], seen.live.workers.len() as u64),
    },
    Family {
        name: "pointsman_uptime_seconds",
        help: "How long the process has been running.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| out.value(&[], seen.uptime.as_secs_f64()),
    },
    Family {
        name: "pointsman_build_info",
        help: "The version of the program; always 1.",
        kind: Gauge,
        labels: &["version"],
        collect: |_, out| out.count(&[env!("CARGO_PKG_VERSION")], 1),
    },
    Family {
        name: "process_resident_memory_bytes",
        help: "Resident memory of the process; Linux only.",
        kind: Gauge,
        labels: &[],
        collect: |seen, out| seen.resident_bytes.into_iter().for_each(|bytes| out.count(&[], bytes)),
    },
];

fn by_route(seen: &Observation<'_>, out: &mut Samples, collect: fn(&str, &RouteTotals, &mut Samples)) {
    for (route, totals) in seen.snapshot.routes.iter().zip(&seen.totals) {
        collect(&route.name, totals, out);
    }
}

fn by_arm(seen: &Observation<'_>, out: &mut Samples, collect: fn(&RouteTotals, usize, &[&str], &mut Samples)) {
    for (route, totals) in seen.snapshot.routes.iter().zip(&seen.totals) {
        for arm in Arm::ALL {
            collect(totals, arm.index(), &[&route.name, arm.as_str()], out);
        }
    }
}

fn requests(route: &str, totals: &RouteTotals, out: &mut Samples) {
    for total in &totals.requests {
        let (assigned, served) = (total.assigned.as_str(), total.served.as_str());
        out.count(&[route, assigned, served, total.reason.as_str(), total.code_class], total.count);
    }
}

fn attempts(route: &str, totals: &RouteTotals, out: &mut Samples) {
    for arm in Arm::ALL {
        for outcome in Outcome::ALL {
            out.count(&[route, arm.as_str(), outcome.as_str()], totals.attempts[arm.index()][outcome.index()]);
        }
    }
}

fn causes(route: &str, counts: &[u64], out: &mut Samples) {
    for (cause, &count) in Cause::ALL.into_iter().zip(counts) {
        out.count(&[route, cause.as_str()], count);
    }
}

fn effective_percent(route: &str, totals: &RouteTotals, out: &mut Samples) {
    if let Some(percent) = totals.effective_percent() {
        out.value(&[route], percent);
    }
}

fn route_enabled(seen: &Observation<'_>, out: &mut Samples) {
    for route in &seen.snapshot.config().routes {
        out.count(&[&route.name], u64::from(route.policy.enabled));
    }
}

fn gates(seen: &Observation<'_>, out: &mut Samples) {
    for (definition, state) in seen.snapshot.config().routes.iter().zip(&seen.snapshot.routes) {
        if definition.quality_gate.is_some() {
            out.count(&[&state.name], u64::from(state.gate() == Position::Open));
        }
    }
}

fn pins_rejected(seen: &Observation<'_>, out: &mut Samples) {
    let routes = seen.snapshot.config().routes.iter().zip(&seen.totals);
    for (definition, totals) in routes.filter(|(definition, _)| definition.pin.is_some()) {
        for (rejection, &count) in pin::Rejection::ALL.into_iter().zip(&totals.pins_rejected) {
            out.count(&[&definition.name, rejection.as_str()], count);
        }
    }
}
