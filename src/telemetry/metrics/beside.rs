//! What is told of backends and alerts: beside the routes, and never by request.

use std::collections::BTreeMap;

use super::{Observation, Samples};
use crate::alerts::Severity;
use crate::upstream::EndpointStatus;

pub(super) fn alerts_firing(seen: &Observation<'_>, out: &mut Samples) {
    let shown = seen.alerts.seen();
    for severity in Severity::ALL {
        let firing = shown.firing.iter().filter(|firing| firing.alert.severity == severity);
        out.count(&[severity.as_str()], firing.count() as u64);
    }
}

pub(super) fn alert_deliveries(seen: &Observation<'_>, out: &mut Samples) {
    for webhook in &seen.alerts.seen().webhooks {
        let counts = [("delivered", webhook.delivered), ("failed", webhook.failed), ("given_up", webhook.given_up)];
        counts.into_iter().for_each(|(result, count)| out.count(&[&webhook.name, result], count));
    }
}

pub(super) fn breakers(seen: &Observation<'_>, out: &mut Samples) {
    for backend in &seen.snapshot.backends {
        out.count(&[&backend.state.name], u64::from(backend.state.position(seen.now).gauge()));
    }
}

pub(super) fn rate_limited(seen: &Observation<'_>, out: &mut Samples) {
    for backend in &seen.snapshot.backends {
        out.count(&[&backend.state.name], u64::from(backend.state.is_throttled(seen.now)));
    }
}

pub(super) fn in_flight(seen: &Observation<'_>, out: &mut Samples) {
    for backend in &seen.snapshot.backends {
        out.count(&[&backend.state.name], u64::from(backend.state.in_flight()));
    }
}

/// Counts the addresses of each endpoint. Addresses themselves come from name servers and are no labels.
pub(super) fn endpoints(seen: &Observation<'_>, out: &mut Samples, counts: fn(&EndpointStatus) -> bool) {
    for backend in &seen.snapshot.backends {
        let mut by_endpoint: BTreeMap<String, u64> = BTreeMap::new();
        for status in backend.upstream.iter().flat_map(|upstream| upstream.status()) {
            let counted = u64::from(counts(&status));
            *by_endpoint.entry(status.origin().to_owned()).or_default() += counted;
        }
        for (endpoint, count) in &by_endpoint {
            out.count(&[&backend.state.name, endpoint], *count);
        }
    }
}
