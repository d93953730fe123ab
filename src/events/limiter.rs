//! How many events one client address may send: a token bucket for each, in a bounded table.
//!
//! IPv6 addresses count by their /64, which is what one customer has. When the table is full, strangers
//! share one bucket. The lock is held for a look-up, and only by requests that send events.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are told apart.
const MAX_CLIENTS: usize = 65_536;
/// Between two looks for addresses that can be forgotten, while the table is full.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The bucket of all who come when the table is full.
const STRANGERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<IpAddr, Bucket>,
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn refilled(self, rate: f64, burst: f64, now: Instant) -> f64 {
        (self.left + rate * now.saturating_duration_since(self.at).as_secs_f64()).min(burst)
    }
}

impl Limiter {
    /// Takes so many tokens, or says how long to wait for them. More than `burst` are never there.
    pub(super) fn take(&self, from: IpAddr, count: u32, rate: f64, burst: u32, now: Instant) -> Result<(), Duration> {
        self.change(from, (f64::from(count), f64::from(count)), rate, f64::from(burst), now)
    }

    /// Whether there is a token at all; takes none.
    pub(super) fn look(&self, from: IpAddr, rate: f64, burst: u32, now: Instant) -> Result<(), Duration> {
        self.change(from, (1.0, 0.0), rate, f64::from(burst), now)
    }

    fn change(
        &self,
        from: IpAddr,
        (count, taken): (f64, f64),
        rate: f64,
        burst: f64,
        now: Instant,
    ) -> Result<(), Duration> {
        // Every change under it is whole.
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = table.room_for(network(from), rate, burst, now);
        let bucket = table.clients.entry(client).or_insert(Bucket { left: burst, at: now });
        let left = bucket.refilled(rate, burst, now);
        if left < count {
            *bucket = Bucket { left, at: now };
            return Err(Duration::try_from_secs_f64((count - left) / rate).unwrap_or(Duration::MAX));
        }
        *bucket = Bucket { left: left - taken, at: now };
        Ok(())
    }
}

impl Table {
    /// The client itself if it is known or there is room, [`STRANGERS`] otherwise.
    fn room_for(&mut self, client: IpAddr, rate: f64, burst: f64, now: Instant) -> IpAddr {
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&client) {
            return client;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.clients.retain(|_, bucket| bucket.refilled(rate, burst, now) < burst);
        }
        if self.clients.len() < MAX_CLIENTS { client } else { STRANGERS }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_burst_passes_then_the_rate() {
        let (limiter, begin) = (Limiter::default(), clock::now());
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let take = |count, millis| limiter.take(HERE, count, 2.0, 4, at(millis));
        assert_eq!(take(3, 0), Ok(()));
        assert_eq!(take(2, 0), Err(Duration::from_millis(500)));
        let look = |millis| limiter.look(HERE, 2.0, 4, at(millis));
        assert_eq!((look(0), look(0)), (Ok(()), Ok(())), "looking takes nothing");
        assert_eq!(take(1, 0), Ok(()), "what was refused took nothing");
        assert_eq!(look(0), Err(Duration::from_millis(500)));
        assert_eq!(take(2, 500), Err(Duration::from_millis(500)));
        assert_eq!(take(2, 1_000), Ok(()));
        assert_eq!(take(5, 3_600_000), Err(Duration::from_millis(500)), "never more than the burst");
        assert_eq!(limiter.take("192.0.2.2".parse().unwrap(), 4, 2.0, 4, at(0)), Ok(()), "others are others");
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let (limiter, now) = (Limiter::default(), clock::now());
        let take = |address: &str| limiter.take(address.parse().unwrap(), 1, 1.0, 1, now).is_ok();
        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
        assert!(take("::ffff:192.0.2.1") && !take("192.0.2.1"));
    }

    #[test]
    fn the_table_is_bounded() {
        let (limiter, now) = (Limiter::default(), clock::now());
        let take = |n: u32, now| limiter.take(IpAddr::V4(n.into()), 1, 1.0, 2, now);
        for n in 0..MAX_CLIENTS as u32 {
            assert_eq!(take(n, now), Ok(()));
        }
        assert_eq!(take(1 << 20, now), Ok(()));
        assert_eq!(take(1 << 21, now), Ok(()), "strangers share a bucket");
        assert!(take(1 << 22, now).is_err());
        assert_eq!(take(7, now), Ok(()), "who is known keeps their own");
        let later = now + Duration::from_secs(2);
        assert_eq!(take(1 << 22, later), Ok(()), "who has not sent for long is forgotten");
        assert!(limiter.0.lock().unwrap().clients.len() <= MAX_CLIENTS + 1);
    }
}
