//! Who is told of what, as the gateway runs with it.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use secrecy::SecretString;

use super::{Endpoint, Tls};
use crate::domain::alert::Severity;

/// `[alerts]`.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// What this gateway is called in messages.
    pub source: String,
    /// How often an alert that goes on is told again.
    pub repeat_every: Duration,
    /// How old a message may become before it is given up.
    pub give_up_after: Duration,
    /// When the message of the day is sent, in UTC.
    pub digest: Option<Time>,
    /// Where messages go.
    pub webhooks: Vec<Webhook>,
}

/// `[alerts.webhooks.NAME]`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is; the path with the query. Nothing shows it.
    pub endpoint: Endpoint,
    /// What it takes.
    pub format: WebhookFormat,
    /// What signs, each for itself.
    pub secrets: Vec<SigningKey>,
    /// Routes that it hears of; empty for all.
    pub routes: Vec<String>,
    /// Severities that it hears of.
    pub severities: Vec<Severity>,
    /// Of one try.
    pub timeout: Duration,
    /// Whom to trust where it is `https`.
    pub tls: Tls,
}

/// The bytes that a `whsec_` stands for, in base64 as the file has it.
#[derive(Debug, Clone)]
pub struct SigningKey(pub SecretString);

/// What a webhook takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// CloudEvents 1.0, structured, as JSON.
    CloudEvents,
    /// Slack's incoming webhooks.
    Slack,
}

impl WebhookFormat {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Slack => "slack",
        }
    }
}
