//! Redacts exchanges and stores them, in groups. What the store does not take is dropped and counted.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Exchange;
use crate::clock;
use crate::domain::sampling::{Document, Fate, Purpose};
use crate::live::Live;
use crate::store::{Attached, Sample, Store as _};

/// Exchanges that wait to be stored.
const MAX_WAITING: usize = 128;
/// Exchanges that are stored together.
const MAX_GROUP: usize = 32;

/// Begins to store what is handed over.
pub(super) fn start(live: Arc<Live>, store: Arc<Attached>) -> mpsc::Sender<Arc<Exchange>> {
    let (queue, waiting) = mpsc::channel(MAX_WAITING);
    tokio::spawn(run(live, store, waiting));
    queue
}

pub(super) fn hand_over(keeper: &mpsc::Sender<Arc<Exchange>>, exchange: Arc<Exchange>) {
    if let Err(mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) =
        keeper.try_send(exchange)
    {
        lost.count(Purpose::Samples, Fate::QueueFull);
    }
}

async fn run(live: Arc<Live>, store: Arc<Attached>, mut waiting: mpsc::Receiver<Arc<Exchange>>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (mut samples, mut kept) = (Vec::new(), Vec::new());
        for exchange in group.drain(..) {
            match sample(&exchange, &live) {
                Ok(sample) => {
                    samples.push(sample);
                    kept.push(exchange);
                }
                Err(fate) => exchange.count(Purpose::Samples, fate),
            }
        }
        if samples.is_empty() {
            continue;
        }
        let fate = if store.append_samples(samples).await.is_ok() { Fate::Done } else { Fate::Store };
        kept.iter().for_each(|exchange| exchange.count(Purpose::Samples, fate));
    }
}

fn sample(exchange: &Exchange, live: &Live) -> Result<Sample, Fate> {
    let (settings, response) =
        exchange.definition().samples.as_ref().zip(exchange.response.as_ref()).ok_or(Fate::NoAnswer)?;
    let body = |side: &super::Side| {
        let mut document = side.document(settings.max_body)?;
        settings.redaction.apply(&mut document);
        Ok(if document == Document::Empty { Box::default() } else { document.into_value().to_string().into() })
    };
    Ok(Sample {
        id: clock::new_uuid().to_string().into(),
        at: exchange.at,
        user: exchange.user(live).ok_or(Fate::Store)?,
        route: Box::from(&*exchange.definition().name),
        assigned: exchange.decision.assigned,
        served: exchange.served,
        phase: exchange.phase.0,
        reason: exchange.reason.as_str().into(),
        request_id: exchange.request_id.clone(),
        method: exchange.method.clone(),
        path: exchange.path.clone(),
        status: exchange.status,
        duration_micros: exchange.duration_micros,
        request: body(&exchange.request)?,
        response: body(response)?,
    })
}
