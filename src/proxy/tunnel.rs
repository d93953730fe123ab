//! After an upgrade: bytes both ways, until one side is done.
//!
//! A tunnel exists only after the upstream's 101. It has no deadline.

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::ledger::Ledger;
use crate::clock;
use crate::domain::attempt::Outcome;
use crate::upstream::Connection;

/// Joins the two sides once the client's has been handed over; what the upstream has already said goes first. The
/// ledger settles when the tunnel ends.
pub(crate) async fn join(client: OnUpgrade, (upstream, said): (Connection, Bytes), mut ledger: Box<Ledger>) {
    let client = match client.await {
        Ok(client) => client,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was agreed on and did not happen");
            return;
        }
    };
    let (reader, writer) = tokio::io::split(upstream);
    let mut upstream = tokio::io::join(said.chain(reader), writer);
    if let Ok((_, down)) = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut upstream).await {
        ledger.add_bytes(down);
    }
    // However a conversation ends, the backend agreed to it and held it.
    ledger.end(Outcome::Success, clock::now());
}
