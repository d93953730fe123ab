//! `[alerts]`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::civil::Time;
use secrecy::{ExposeSecret as _, SecretString};

use super::backend::{endpoint, has_certificate};
use crate::config::model::{Alerts, Endpoint, SigningKey, Tls, Webhook, WebhookFormat};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::alert::Severity;

/// What a secret of Standard Webhooks begins with.
const PREFIX: &str = "whsec_";
/// Bytes of such a secret (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Most secrets of one webhook: the one that is used, and those on their way in and out.
const MAX_SECRETS: usize = 4;
/// Most webhooks.
const MAX_WEBHOOKS: usize = 32;

pub(super) fn alerts(view: &View<'_>, routes: &[&str]) -> Option<Alerts> {
    let source = view.text("source");
    if source.is_some_and(|source| source.is_empty() || !source.bytes().all(is_uri_byte)) {
        let help = "a part of a URI: letters, digits and - . _ ~ / : for example `pointsman-eu`";
        view.error("source", format!("found {:?}", source.unwrap_or_default()), help);
        return None;
    }
    let digest = view.optional_table("digest").map(|table| digest(&table));
    let named = view.named("webhooks");
    if named.len() > MAX_WEBHOOKS {
        view.error("webhooks", format!("{} webhooks", named.len()), format!("at most {MAX_WEBHOOKS}"));
    }
    if named.is_empty() && digest.is_some() {
        view.warning("digest", "a digest, and no webhook that could take it", "add [alerts.webhooks.NAME]");
    }
    let webhooks = super::all(named.iter().map(|(name, view)| webhook(name, view, routes)));
    Some(Alerts {
        source: source?.to_owned(),
        repeat_every: view.duration("repeat_every")?,
        give_up_after: view.duration("give_up_after")?,
        digest: match digest {
            Some(at) => Some(at?),
            None => None,
        },
        webhooks: webhooks?,
    })
}

const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':')
}

fn digest(view: &View<'_>) -> Option<Time> {
    let text = view.text("at")?;
    let digits = text.len() == 5 && text.bytes().enumerate().all(|(at, byte)| (at == 2) == (byte == b':'));
    match Time::strptime("%H:%M", text) {
        Ok(at) if digits => Some(at),
        Ok(_) | Err(_) => {
            view.error("at", format!("found {text:?}"), "expected a time of day in UTC: `08:00`");
            None
        }
    }
}

fn webhook(name: &str, view: &View<'_>, routes: &[&str]) -> Option<Webhook> {
    let url = view.secret("url", 1).and_then(|url| address(view, url.expose_secret()));
    let format = match view.word("format") {
        Some("slack") => Some(WebhookFormat::Slack),
        Some("cloudevents") => Some(WebhookFormat::CloudEvents),
        Some(_) | None => None,
    };
    let secrets = view.secrets("secrets", 1).and_then(|secrets| signing_keys(view, secrets));
    if format == Some(WebhookFormat::Slack) && secrets.as_ref().is_some_and(|secrets| !secrets.is_empty()) {
        view.warning("secrets", "secrets for Slack", "its webhooks look at no signature: their URL is the secret");
    }
    let ca = view.file("ca");
    if ca.is_some_and(|pem| !has_certificate(pem)) {
        view.error("ca", "the file holds no certificate", "expected PEM: `-----BEGIN CERTIFICATE-----`");
    }
    if view.is_empty_list("severities") {
        view.error("severities", "an empty list", "a webhook that hears of nothing: leave it out");
    }
    let severities = view.items("severities").into_iter().filter_map(|node| Severity::parse(node.as_text()?));
    Some(Webhook {
        name: name.into(),
        endpoint: url?,
        format: format?,
        secrets: secrets?,
        routes: known_routes(view, routes)?,
        severities: severities.collect(),
        timeout: view.duration("timeout")?,
        tls: Tls { ca: ca.map(Bytes::copy_from_slice), ..Tls::default() },
    })
}

/// What is wrong with it is told without what it is.
fn address(view: &View<'_>, text: &str) -> Option<Endpoint> {
    let (bare, query) = text.split_once('?').map_or((text, None), |(bare, query)| (bare, Some(query)));
    if text.contains(['#', '@']) {
        view.error("url", "a URL with `#` or `@`", "neither a fragment nor a user name belongs into it");
        return None;
    }
    let url = match parse::parse_url(bare) {
        Ok(url) => url,
        Err(help) => {
            view.error("url", "not a URL", help);
            return None;
        }
    };
    // A path is taken to the letter: the one with a slash at its end is another one.
    let path = bare.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = query.map_or_else(|| format!("/{path}"), |query| format!("/{path}?{query}"));
    if path.parse::<http::uri::PathAndQuery>().is_err() {
        view.error("url", "a path that cannot be asked for", "characters beyond ASCII are written with `%`");
        return None;
    }
    Some(Endpoint { base_path: path, ..endpoint(url, 1) })
}

fn signing_keys(view: &View<'_>, secrets: Vec<SecretString>) -> Option<Vec<SigningKey>> {
    if secrets.len() > MAX_SECRETS {
        view.error("secrets", format!("{} secrets", secrets.len()), format!("at most {MAX_SECRETS}"));
    }
    let keys = secrets.into_iter().map(|secret| {
        let encoded = secret.expose_secret().strip_prefix(PREFIX);
        let decoded = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        let length = decoded.as_ref().map(Vec::len);
        let Some(encoded) = encoded.filter(|_| length.is_some_and(|length| SECRET_BYTES.contains(&length))) else {
            let found =
                length.map_or_else(|| "a secret of another form".to_owned(), |length| format!("{length} bytes"));
            let help = "expected `whsec_` and base64 of 24 to 64 bytes: echo whsec_$(openssl rand -base64 32)";
            view.error("secrets", found, help);
            return None;
        };
        Some(SigningKey(SecretString::from(encoded.to_owned())))
    });
    super::all(keys)
}

fn known_routes(view: &View<'_>, routes: &[&str]) -> Option<Vec<String>> {
    super::all(view.items("routes").into_iter().map(|node| {
        let name = node.as_text()?;
        if !routes.contains(&name) {
            view.error_at(
                &node.origin,
                "routes",
                format!("there is no route {name:?}"),
                format!("there are: {}", routes.join(", ")),
            );
            return None;
        }
        Some(name.to_owned())
    }))
}
