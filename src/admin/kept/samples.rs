//! Kept exchanges as they are shown.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::json;
use crate::domain::Arm;
use crate::store::{Cursor, Sample};

pub(super) const COLUMNS: [&str; 16] = [
    "number",
    "id",
    "at",
    "user",
    "route",
    "assigned",
    "served",
    "phase",
    "reason",
    "request_id",
    "method",
    "path",
    "status",
    "duration_ms",
    "request",
    "response",
];

/// See the module.
#[derive(Debug, Serialize)]
pub(super) struct SampleRow<'a> {
    number: Cursor,
    id: &'a str,
    at: Timestamp,
    /// 32 hex digits.
    user: Option<String>,
    route: &'a str,
    assigned: Arm,
    served: Arm,
    /// 8 hex digits.
    phase: String,
    reason: &'a str,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: f64,
    request: Option<Value>,
    response: Option<Value>,
}

impl<'a> SampleRow<'a> {
    pub(super) fn of(number: Cursor, sample: &'a Sample) -> Self {
        let body = |text: &str| (!text.is_empty()).then(|| json(text));
        Self {
            number,
            id: &sample.id,
            at: sample.at,
            user: sample.user.map(|user| user.to_string()),
            route: &sample.route,
            assigned: sample.assigned,
            served: sample.served,
            phase: format!("{:08x}", sample.phase),
            reason: &sample.reason,
            request_id: &sample.request_id,
            method: &sample.method,
            path: &sample.path,
            status: sample.status,
            duration_ms: sample.duration_micros as f64 / 1e3,
            request: body(&sample.request),
            response: body(&sample.response),
        }
    }

    /// In the order of [`COLUMNS`]; texts of others as `plain` makes them.
    pub(super) fn cells(&self, plain: fn(&str) -> String) -> Vec<String> {
        let body = |body: &Option<Value>| body.as_ref().map(|body| plain(&body.to_string())).unwrap_or_default();
        vec![
            self.number.to_string(),
            self.id.to_owned(),
            self.at.to_string(),
            self.user.clone().unwrap_or_default(),
            plain(self.route),
            self.assigned.to_string(),
            self.served.to_string(),
            self.phase.clone(),
            self.reason.to_owned(),
            plain(self.request_id),
            plain(self.method),
            plain(self.path),
            self.status.to_string(),
            self.duration_ms.to_string(),
            body(&self.request),
            body(&self.response),
        ]
    }
}
