//! Which address is picked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn picked(upstream: &Upstream, key: Option<&[u8]>) -> SocketAddr {
    upstream.pick(key).unwrap().socket
}

fn counts(upstream: &Upstream, picks: usize) -> HashMap<SocketAddr, usize> {
    let mut counts = HashMap::new();
    for _ in 0..picks {
        *counts.entry(picked(upstream, None)).or_default() += 1;
    }
    counts
}

fn weighted(weights: &[usize]) -> Vec<Endpoint> {
    literals(u8::try_from(weights.len()).unwrap())
        .into_iter()
        .zip(weights)
        .map(|(endpoint, &weight)| Endpoint { weight, ..endpoint })
        .collect()
}

fn consistent(endpoints: Vec<Endpoint>) -> Arc<Upstream> {
    Upstream::new(&Backend { balance: Balance::Consistent, ..backend(endpoints) }).unwrap()
}

fn set_health(upstream: &Upstream, address: SocketAddr, healthy: bool) {
    for known in upstream.directory.addresses() {
        if known.socket == address {
            known.set_healthy(healthy);
        }
    }
    upstream.directory.republish();
}

#[test]
fn turns_follow_the_weights_exactly() {
    for weights in [&[1][..], &[1, 1], &[3, 1], &[5, 2, 1], &[1, 100]] {
        for balance in [Balance::RoundRobin, Balance::Consistent] {
            let settings = Backend { balance, ..backend(weighted(weights)) };
            let upstream = Upstream::new(&settings).unwrap();
            let rounds = 20;
            let counts = counts(&upstream, rounds * weights.iter().sum::<usize>());
            for (endpoint, weight) in weighted(weights).iter().zip(weights) {
                let socket = SocketAddr::new(endpoint.host.parse().unwrap(), 80);
                assert_eq!(counts.get(&socket), Some(&(rounds * weight)), "{weights:?} {balance:?} {socket}");
            }
        }
    }
}

#[test]
fn weights_stay_right_among_the_healthy() {
    let upstream = Upstream::new(&backend(weighted(&[3, 1, 4]))).unwrap();
    set_health(&upstream, "10.0.0.3:80".parse().unwrap(), false);
    let counts = counts(&upstream, 400);
    let expected = [("10.0.0.1:80", 300), ("10.0.0.2:80", 100)].map(|(at, n)| (at.parse().unwrap(), n));
    assert_eq!(counts, HashMap::from(expected));
}

#[test]
fn endpoints_behind_one_socket_are_apart_and_repeated_ones_are_added_up() {
    let host = |authority: &'static str| Endpoint {
        authority: HeaderValue::from_static(authority),
        ..endpoint("10.0.0.1", 80, 1)
    };
    for balance in [Balance::RoundRobin, Balance::Consistent] {
        let endpoints = vec![host("a.test"), host("b.test"), host("a.test")];
        let upstream = Upstream::new(&Backend { balance, ..backend(endpoints) }).unwrap();
        let of_a = (0..300).filter(|_| upstream.pick(None).unwrap().endpoint.authority == "a.test").count();
        assert_eq!(of_a, 200, "{balance:?}");
    }
}

#[test]
fn every_address_has_its_own_identity() {
    let settings = backend(literals(3));
    let (first, second) = (Upstream::new(&settings).unwrap(), Upstream::new(&settings).unwrap());
    let mut ids: Vec<u64> = first.directory.addresses().iter().map(|address| address.id).collect();
    ids.extend(second.directory.addresses().iter().map(|address| address.id));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_key_goes_the_same_way_on_every_replica_and_keys_spread() {
    let (here, there) = (consistent(literals(4)), consistent(literals(4).into_iter().rev().collect()));
    let mut counts: HashMap<SocketAddr, usize> = HashMap::new();
    for user in 0..4000 {
        let key = format!("user-{user}");
        let socket = picked(&here, Some(key.as_bytes()));
        assert_eq!(socket, picked(&there, Some(key.as_bytes())), "{key}");
        *counts.entry(socket).or_default() += 1;
    }
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|count| (500..=1500).contains(count)), "{counts:?}");
}

#[test]
fn an_endpoint_taken_out_of_the_file_moves_only_its_keys() {
    let (before, after) = (consistent(literals(4)), consistent(literals(3)));
    let removed: SocketAddr = "10.0.0.4:80".parse().unwrap();
    for user in 0..4000 {
        let key = format!("user-{user}");
        let (was, is) = (picked(&before, Some(key.as_bytes())), picked(&after, Some(key.as_bytes())));
        assert!(was == is || was == removed, "{key} moved from {was} to {is}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_unhealthy_endpoint_moves_only_its_keys_and_gets_them_back(
        weights in prop::collection::vec(1_usize..9, 2..6),
        sick in any::<prop::sample::Index>(),
    ) {
        let upstream = consistent(weighted(&weights));
        let sick = upstream.directory.addresses()[sick.index(weights.len())].socket;
        let all = || (0_u32..300).map(|user| picked(&upstream, Some(&user.to_be_bytes()))).collect::<Vec<_>>();
        let before = all();
        set_health(&upstream, sick, false);
        for (was, is) in before.iter().zip(all()) {
            prop_assert_ne!(is, sick);
            prop_assert!(*was == is || *was == sick);
        }
        set_health(&upstream, sick, true);
        prop_assert_eq!(before, all());
    }

    #[test]
    fn when_none_is_healthy_all_are_used(count in 1_u8..6, by_key in any::<bool>()) {
        let upstream = consistent(literals(count));
        for address in upstream.directory.addresses() {
            set_health(&upstream, address.socket, false);
        }
        let seen: std::collections::HashSet<SocketAddr> = (0_u32..600)
            .map(|user| picked(&upstream, by_key.then_some(&user.to_be_bytes()[..])))
            .collect();
        prop_assert_eq!(seen.len(), usize::from(count));
    }
}
