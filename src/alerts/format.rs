//! Messages as the other side takes them: CloudEvents 1.0, structured, as JSON; or what Slack shows.
//!
//! Nothing in a message acts when it is clicked, and no text of it is taken for anything but text.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::config::model::WebhookFormat;
use crate::domain::alert::{Kind, Message, Severity};

/// Letters of a block's text that Slack takes.
const MAX_SLACK_TEXT: usize = 2_900;

/// The body and its content type. `id` names the message, `source` this gateway.
pub(super) fn body(format: WebhookFormat, message: &Message, id: &str, source: &str) -> (HeaderValue, Value) {
    match format {
        WebhookFormat::CloudEvents => {
            (HeaderValue::from_static("application/cloudevents+json"), cloud_event(message, id, source))
        }
        WebhookFormat::Slack => (HeaderValue::from_static("application/json"), slack(message, source)),
    }
}

/// CloudEvents 1.0.2, JSON format, 3.2.
fn cloud_event(message: &Message, id: &str, source: &str) -> Value {
    let kind = match message.kind {
        Kind::Firing => "dev.pointsman.alert.firing",
        Kind::Resolved => "dev.pointsman.alert.resolved",
        Kind::Transition => "dev.pointsman.rollout.transition",
        Kind::Digest => "dev.pointsman.digest",
        Kind::Test => "dev.pointsman.test",
    };
    let mut data = json!({
        "severity": message.severity,
        "title": message.title,
        "detail": message.detail,
        "data": message.data,
    });
    if let Some(key) = &message.key {
        data["key"] = json!(key);
        data["since"] = json!(message.since);
        data["count"] = json!(message.count);
    }
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": kind,
        "time": message.at,
        "datacontenttype": "application/json",
        "data": data,
    });
    if let Some(route) = &message.route {
        event["subject"] = json!(route);
    }
    event
}

/// <https://docs.slack.dev/messaging/formatting-message-text>.
fn slack(message: &Message, source: &str) -> Value {
    let sign = match (message.kind, message.severity) {
        (Kind::Resolved, _) => ":white_check_mark:",
        (Kind::Digest, _) => ":newspaper:",
        (Kind::Test, _) => ":wave:",
        (Kind::Transition, Severity::Info) => ":arrow_right:",
        (Kind::Firing, Severity::Info) => ":information_source:",
        (Kind::Firing | Kind::Transition, Severity::Warning) => ":warning:",
        (Kind::Firing | Kind::Transition, Severity::Critical) => ":rotating_light:",
    };
    let word = if message.kind == Kind::Resolved { "Resolved: " } else { "" };
    let title = format!("{sign} {word}{}", escaped(&message.title));
    let route = message.route.as_deref().map_or_else(String::new, |route| format!(" · {route}"));
    let about = format!("{source}{route} · {} · {}", message.severity.as_str(), message.at);
    let text = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let mut blocks = vec![json!({ "type": "section", "text": text(title.clone()) })];
    if !message.detail.is_empty() {
        blocks.push(json!({ "type": "section", "text": text(escaped(&message.detail)) }));
    }
    blocks.push(json!({ "type": "context", "elements": [text(escaped(&about))] }));
    json!({ "text": title, "blocks": blocks })
}

/// What Slack would take for a mention or a link is text, and no more of it than is taken.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        let before = escaped.len();
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            letter => escaped.push(letter),
        }
        if escaped.len() > MAX_SLACK_TEXT {
            escaped.truncate(before);
            escaped.push('…');
            break;
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Kind, title: &str) -> Message {
        let alert = Message {
            kind,
            key: Some("answers/errors".into()),
            route: Some("answers".into()),
            severity: Severity::Critical,
            title: title.to_owned(),
            detail: "1 % -> 4 %".to_owned(),
            data: json!({ "rate": 0.04 }),
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            since: Some("2026-11-21T11:00:00Z".parse().unwrap()),
            count: 3,
        };
        if kind == Kind::Transition { Message { key: None, since: None, ..alert } } else { alert }
    }

    #[test]
    fn a_cloud_event_has_every_attribute() {
        let (kind, event) = body(WebhookFormat::CloudEvents, &message(Kind::Firing, "errors"), "msg_1", "pointsman-eu");
        assert_eq!(kind, "application/cloudevents+json");
        let expected = json!({
            "specversion": "1.0", "id": "msg_1", "source": "pointsman-eu", "type": "dev.pointsman.alert.firing",
            "time": "2026-11-21T12:00:00Z", "datacontenttype": "application/json", "subject": "answers",
            "data": {
                "severity": "critical", "title": "errors", "detail": "1 % -> 4 %", "data": { "rate": 0.04 },
                "key": "answers/errors", "since": "2026-11-21T11:00:00Z", "count": 3,
            },
        });
        assert_eq!(event, expected);
        let (_, event) = body(WebhookFormat::CloudEvents, &message(Kind::Transition, "t"), "msg_1", "p");
        assert_eq!((&event["type"], event["data"].get("key")), (&json!("dev.pointsman.rollout.transition"), None));
    }

    #[test]
    fn what_slack_would_act_on_is_text() {
        let nasty = "<!channel> <https://evil.example|click> & more";
        let (kind, message) = body(WebhookFormat::Slack, &message(Kind::Resolved, nasty), "msg_1", "p");
        assert_eq!(kind, "application/json");
        let text = message["blocks"][0]["text"]["text"].as_str().unwrap();
        assert_eq!(text, ":white_check_mark: Resolved: &lt;!channel&gt; &lt;https://evil.example|click&gt; &amp; more");
        assert_eq!((&message["text"], &message["blocks"][1]["text"]["text"]), (&json!(text), &json!("1 % -&gt; 4 %")));
        assert_eq!(message["blocks"][0]["text"]["verbatim"], true);
        for long in ["<".repeat(10_000), "ä".repeat(10_000)] {
            let short = escaped(&long);
            assert!(short.len() <= MAX_SLACK_TEXT + 3 && short.trim_end_matches('…').ends_with([';', 'ä']), "{short}");
        }
    }
}
