//! Made-up chance: everything is a function of a seed, so that a rehearsal can be done again.

/// A stream of numbers that look random: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// The stream with this number, of a seed; streams have nothing in common.
    pub(super) const fn new(seed: u64, stream: u64) -> Self {
        Self(mixed(seed ^ mixed(stream)))
    }

    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// From 0 to under 1.
    pub(super) const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of mean 0 and variance 1, normally distributed (Box and Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many, where there are `mean` on average (Knuth, TAOCP vol. 2, 3.4.1; normal where there are many).
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (least, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > least {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// The finalizer of SplitMix64: neighbours have nothing in common.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws.
    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        const DRAWS: u32 = 20_000;
        let (sum, squares) = (0..DRAWS).map(|_| draw()).fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        let mean = sum / f64::from(DRAWS);
        (mean, squares / f64::from(DRAWS) - mean * mean)
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut chance = Chance::new(1, 2);
        let (mean, variance) = moments(|| chance.unit());
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.01, "{mean} {variance}");
        let (mean, variance) = moments(|| chance.normal());
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        for expected in [0.3, 4.0, 200.0] {
            let (mean, variance) = moments(|| chance.poisson(expected) as f64);
            assert!((mean / expected - 1.0).abs() < 0.05, "{expected}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.06, "{expected}: {variance}");
        }
        assert_ne!(Chance::new(1, 2).bits(), Chance::new(2, 1).bits());
        assert_eq!(Chance::new(7, 3).bits(), Chance::new(7, 3).bits());
    }
}
