//! What is kept of alerts: what fires, what waits to be sent, what was told last.
//!
//! It sends nothing and asks no clock. Invariant: it is bounded, so that it can be written as a whole.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::model::{Alerts as Settings, Webhook};
use crate::domain::alert::{Board, Message, has_passed, wait_after};

/// Messages that wait for one webhook; the oldest goes for a new one.
const MAX_WAITING: usize = 100;
/// Messages that wait for all of them.
const MAX_WAITING_TOGETHER: usize = 500;
/// Tries at one message.
const MAX_TRIES: u32 = 200;
/// Messages that are shown.
const MAX_RECENT: usize = 50;

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    pub(super) board: Board,
    pub(super) outbox: VecDeque<Delivery>,
    /// Newest first.
    pub(super) recent: VecDeque<Message>,
    /// For which time the last message of the day was made; before the first, when the desk was first opened.
    pub(super) digested_at: Option<Timestamp>,
}

/// A message on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Delivery {
    /// By which the other side knows a repetition.
    pub(super) id: String,
    pub(super) webhook: Arc<str>,
    pub(super) message: Message,
    pub(super) accepted_at: Timestamp,
    pub(super) tries: u32,
    pub(super) next_at: Timestamp,
}

impl Book {
    /// Takes a message for whoever hears of it. Returns the names of webhooks that lost an older one to it.
    pub(super) fn accept(&mut self, message: Message, id: &str, settings: &Settings, now: Timestamp) -> Vec<Arc<str>> {
        let mut lost = Vec::new();
        for webhook in settings.webhooks.iter().filter(|webhook| hears(webhook, &message)) {
            let name = &webhook.name;
            let theirs = self.outbox.iter().filter(|delivery| delivery.webhook == *name).count();
            if theirs >= MAX_WAITING || self.outbox.len() >= MAX_WAITING_TOGETHER {
                let oldest = |delivery: &Delivery| theirs < MAX_WAITING || delivery.webhook == *name;
                if let Some(gone) = self.outbox.iter().position(oldest).and_then(|index| self.outbox.remove(index)) {
                    lost.push(gone.webhook);
                }
            }
            self.outbox.push_back(Delivery {
                id: id.to_owned(),
                webhook: Arc::clone(name),
                message: message.clone(),
                accepted_at: now,
                tries: 0,
                next_at: now,
            });
        }
        self.recent.push_front(message);
        self.recent.truncate(MAX_RECENT);
        lost
    }

    /// The next message for a webhook whose time has come.
    pub(super) fn due(&self, webhook: &str, now: Timestamp) -> Option<&Delivery> {
        self.outbox.iter().find(|delivery| *delivery.webhook == *webhook && delivery.next_at <= now)
    }

    /// It was taken.
    pub(super) fn delivered(&mut self, webhook: &str, id: &str) {
        self.outbox.retain(|delivery| *delivery.webhook != *webhook || delivery.id != id);
    }

    /// It was not taken, and is tried again after a while. `chance` is from 0 to 1.
    pub(super) fn failed(&mut self, webhook: &str, id: &str, now: Timestamp, chance: f64) {
        let same = |delivery: &&mut Delivery| *delivery.webhook == *webhook && delivery.id == id;
        if let Some(delivery) = self.outbox.iter_mut().find(same) {
            delivery.tries += 1;
            let wait = SignedDuration::try_from(wait_after(delivery.tries, chance)).unwrap_or(SignedDuration::MAX);
            delivery.next_at = now.checked_add(wait).unwrap_or(now);
        }
    }

    /// Takes out what is too old, was tried too often, or is for a webhook that is gone.
    pub(super) fn give_up(&mut self, settings: &Settings, now: Timestamp) -> Vec<Delivery> {
        let is_hopeless = |delivery: &Delivery| {
            delivery.tries >= MAX_TRIES
                || has_passed(delivery.accepted_at, settings.give_up_after, now)
                || !settings.webhooks.iter().any(|webhook| webhook.name == delivery.webhook)
        };
        let (gone, left) = std::mem::take(&mut self.outbox).into_iter().partition(is_hopeless);
        self.outbox = left;
        Vec::from_iter::<VecDeque<Delivery>>(gone)
    }

    /// Takes over what was kept before this process.
    pub(super) fn adopt(&mut self, before: Self) {
        self.board.adopt(before.board);
        for delivery in before.outbox.into_iter().rev() {
            self.outbox.push_front(delivery);
        }
        self.recent.extend(before.recent);
        self.recent.truncate(MAX_RECENT);
        self.digested_at = before.digested_at.or(self.digested_at);
    }
}

fn hears(webhook: &Webhook, message: &Message) -> bool {
    let of_route = |route: &Arc<str>| webhook.routes.iter().any(|name| **name == **route);
    webhook.severities.contains(&message.severity)
        && (webhook.routes.is_empty() || message.route.as_ref().is_none_or(of_route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Kind, Notice, Severity};

    fn settings(webhooks: &str) -> Settings {
        let file = format!("{webhooks}\n[routes.r]\n");
        crate::config::load_text(&file, "gateway.toml", &std::collections::BTreeMap::new()).unwrap().config.alerts
    }

    fn message(n: usize) -> Message {
        let (title, at) = (n.to_string(), at(0));
        let notice = Notice { route: None, severity: Severity::Info, title, detail: String::new(), data: 0.into(), at };
        notice.message(Kind::Transition)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_oldest_goes_for_the_newest_and_no_webhook_costs_another_its_messages() {
        let dead = "[alerts.webhooks.dead]\nurl = \"http://dead\"\n";
        let (one, two) = (settings(dead), settings(&format!("{dead}[alerts.webhooks.well]\nurl = \"http://well\"\n")));
        let mut book = Book::default();
        let lost: usize = (0..MAX_WAITING + 5).map(|n| book.accept(message(n), "id", &one, at(0)).len()).sum();
        assert_eq!((lost, book.outbox.len(), book.recent.len()), (5, MAX_WAITING, MAX_RECENT));
        assert_eq!(book.due("dead", at(0)).unwrap().message.title, "5");
        assert_eq!(&*book.accept(message(999), "x", &two, at(0))[0], "dead");
        assert_eq!(book.due("well", at(0)).unwrap().message.title, "999");
        book.delivered("well", "x");
        assert!(book.due("well", at(0)).is_none() && book.outbox.iter().any(|delivery| delivery.id == "x"));
    }

    #[test]
    fn a_message_is_tried_ever_less_often_and_given_up_in_the_end() {
        let settings = settings("[alerts.webhooks.a]\nurl = \"http://a\"\n[alerts.webhooks.b]\nurl = \"http://b\"\n");
        let mut book = Book::default();
        book.accept(message(1), "m", &settings, at(0));
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..5 {
            book.failed("a", "m", at(now), 0.0);
            let begin = now;
            while book.due("a", at(now)).is_none() {
                now += 1;
            }
            waits.push(now - begin);
        }
        assert_eq!((waits, book.due("b", at(0)).is_some()), (vec![1, 2, 4, 8, 16], true));
        assert_eq!(book.give_up(&settings, at(24 * 3600 - 1)), []);
        assert_eq!(book.give_up(&settings, at(24 * 3600)).len(), 2);
        book.accept(message(2), "m", &settings, at(0));
        (0..MAX_TRIES).for_each(|_| book.failed("a", "m", at(0), 0.0));
        let gone = book.give_up(&settings, at(0));
        assert_eq!((gone.len(), &*gone[0].webhook, book.outbox.len()), (1, "a", 1));
        assert_eq!(book.give_up(&Settings { webhooks: vec![], ..settings }, at(0)).len(), 1, "nobody would take it");
    }
}
