//! Names: resolved, gone, changed.

use std::io;
use std::net::SocketAddr;

use jiff::Timestamp;
use tokio::net::TcpListener;

use super::*;

fn sockets(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn named() -> Arc<Upstream> {
    Upstream::new(&backend(vec![endpoint("answers.test", 80, 1)])).unwrap()
}

fn resolve(upstream: &Upstream, addresses: &[&str]) -> Vec<(SocketAddr, u64)> {
    assert!(upstream.directory.resolved(0, Ok(sockets(addresses)), Timestamp::UNIX_EPOCH));
    upstream.directory.addresses().iter().map(|address| (address.socket, address.id)).collect()
}

#[tokio::test]
async fn a_name_that_does_not_resolve_gives_no_address_and_a_reason() {
    // An empty label is refused by the resolver itself, without a network.
    let upstream = Upstream::new(&backend(vec![endpoint("nowhere..invalid", 80, 1)])).unwrap();
    assert!(upstream.pick(None).is_none());
    upstream.spawn_background(&Handle::current());
    eventually("the status says why", || upstream.status()[0].resolve_error.is_some()).await;
    let status = &upstream.status()[0];
    assert_eq!((status.address, status.healthy, status.resolved_at), (None, false, None));
    assert_eq!(status.url, "http://nowhere..invalid:80");
    assert!(upstream.pick(None).is_none());
}

#[tokio::test]
async fn a_name_of_two_families_is_reached_on_the_one_that_listens() {
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(loopback).await else { continue };
        let port = listener.local_addr().unwrap().port();
        let upstream = Upstream::new(&backend(vec![endpoint("localhost", port, 1)])).unwrap();
        upstream.spawn_background(&Handle::current());
        eventually("localhost resolves", || upstream.pick(None).is_some()).await;
        let here: Vec<SocketAddr> = tokio::net::lookup_host(("localhost", port)).await.unwrap().collect();
        if here.contains(&listener.local_addr().unwrap()) {
            let connection = upstream.pick(None).unwrap().connect().await.unwrap();
            assert_eq!(connection.tcp().peer_addr().unwrap(), listener.local_addr().unwrap());
            assert!(connection.tcp().nodelay().unwrap());
        }
    }
}

#[tokio::test]
async fn the_other_family_stands_by() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let upstream = named();
    resolve(&upstream, &[&format!("[::1]:{}", at.port()), &at.to_string()]);
    let address = upstream.pick(None).unwrap();
    assert!(address.socket.is_ipv6());
    assert_eq!(address.connect().await.unwrap().tcp().peer_addr().unwrap(), at);
}

#[test]
fn an_address_keeps_its_identity_while_it_stays_and_never_gets_another_ones() {
    let upstream = named();
    let first = resolve(&upstream, &["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(resolve(&upstream, &["10.0.0.2:80", "10.0.0.1:80"]), first, "the order means nothing");
    let second = resolve(&upstream, &["10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(second[0], first[1]);
    assert!((0..10).all(|_| upstream.pick(None).unwrap().socket != first[0].0), "it left the set");
    let third = resolve(&upstream, &["10.0.0.1:80"]);
    assert_eq!(third[0].0, first[0].0);
    assert!(!first.iter().chain(&second).any(|(_, id)| *id == third[0].1));
}

#[test]
fn a_failed_resolution_takes_nothing_away() {
    let upstream = named();
    let known = resolve(&upstream, &["10.0.0.1:80"]);
    let rows: [(io::Result<Vec<SocketAddr>>, &str); 2] =
        [(Err(io::Error::other("no such host")), "no such host"), (Ok(Vec::new()), "the name has no addresses")];
    for (outcome, reason) in rows {
        assert!(!upstream.directory.resolved(0, outcome, Timestamp::UNIX_EPOCH));
        assert_eq!(upstream.pick(None).unwrap().socket, known[0].0);
        assert_eq!(upstream.status()[0].resolve_error.as_deref(), Some(reason));
    }
    assert_eq!(resolve(&upstream, &["10.0.0.1:80"]), known);
    assert_eq!(upstream.status()[0].resolve_error, None);
}
