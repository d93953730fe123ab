//! What moved in a rollout becomes alerts and notices.

use std::sync::Arc;

use serde_json::json;

use crate::alerts::{Alert, Alerts, Notice, Severity};
use crate::clock;
use crate::controller::rollout::Tell;
use crate::domain::rollout::{Effect, Transition};

/// Tells alerts of what happens to rollouts.
pub(super) fn teller(alerts: Alerts) -> Tell {
    Box::new(move |route, effect| tell(&alerts, route, effect))
}

fn tell(alerts: &Alerts, route: &str, effect: &Effect) {
    let (key_of, at) = (|key: &str| Arc::from(format!("{route}/{key}")), clock::timestamp());
    let name: Arc<str> = Arc::from(route);
    match effect {
        Effect::Moved(moved) => alerts.tell(notice(name, moved)),
        Effect::Alert { key, critical, text } => alerts.raise(Alert {
            key: key_of(key),
            route: Some(name),
            severity: if *critical { Severity::Critical } else { Severity::Warning },
            title: format!("{route}: {key}"),
            detail: text.clone(),
            data: json!({ "guard": key }),
            at,
        }),
        Effect::Resolve { key } => alerts.resolve(key_of(key), at),
    }
}

fn notice(route: Arc<str>, moved: &Transition) -> Notice {
    let Transition { kind, note, from, to, figures } = moved;
    let stage = to.stage.as_deref().map(|stage| format!(", stage {stage}")).unwrap_or_default();
    Notice {
        severity: match *kind {
            "rolled_back" => Severity::Critical,
            "held" | "halved" | "stepped_back" | "awaiting_approval" | "disabled" => Severity::Warning,
            _ => Severity::Info,
        },
        title: format!("{route}: {kind} ({}{stage}, {} %)", to.state, to.percent),
        detail: format!("{} by {}", note.reason, note.actor),
        data: json!({ "kind": kind, "from": from, "to": to, "reason": note.reason, "actor": note.actor,
            "figures": figures }),
        at: clock::timestamp(),
        route: Some(route),
    }
}
