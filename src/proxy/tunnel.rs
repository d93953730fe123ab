//! After an upgrade: bytes both ways, until one side is done.
//!
//! A tunnel exists only after the upstream's 101. It has no deadline.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::ledger::Ledger;
use crate::clock;
use crate::domain::attempt::Outcome;

/// Joins the two sides once both have been handed over. The ledger settles when the tunnel ends.
pub(crate) async fn join(client: OnUpgrade, upstream: OnUpgrade, mut ledger: Box<Ledger>) {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(sides) => sides,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was agreed on and did not happen");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    if let Ok((_, down)) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        ledger.add_bytes(down);
    }
    // However a conversation ends, the backend agreed to it and held it.
    ledger.end(Outcome::Success, clock::now());
}
