//! Group-sequential bounds: a few planned looks at known shares of the information, the most powerful way to look more
//! than once where the largest size is known.
//!
//! Lan, DeMets, *Discrete Sequential Boundaries for Clinical Trials*, Biometrika 70, 1983; the recursion over the density of
//! the score is Armitage, McPherson, Rowe, J. R. Stat. Soc. A 132, 1969.

use super::distributions::{normal_above, normal_upper_quantile};

/// Most looks that are planned.
pub const MAX_LOOKS: usize = 100;
/// Bounds are cut off here, in standard errors.
const FARTHEST: f64 = 8.0;
/// Points of a grid over the region in which a trial goes on; odd, for Simpson's rule.
const POINTS: usize = 401;
/// Halvings of the search for a bound.
const HALVINGS: usize = 60;

/// How the level is spent as information comes in; `t` goes from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spending {
    /// Like O'Brien and Fleming: hardly anything at first. `2 - 2 Phi(z(alpha / 2) / sqrt t)`.
    OBrienFleming,
    /// Like Pocock: nearly even. `alpha ln(1 + (e - 1) t)`.
    Pocock,
    /// `alpha t^exponent`; 2 is what Spotify takes.
    Power(f64),
}

impl Spending {
    /// What of `alpha` may be spent up to `t`.
    #[must_use]
    pub fn spent(self, t: f64, alpha: f64) -> f64 {
        let t = t.clamp(0.0, 1.0);
        match self {
            Self::OBrienFleming => 2.0 * normal_above(normal_upper_quantile(alpha / 2.0) / t.sqrt()),
            Self::Pocock => alpha * (1.0 + (std::f64::consts::E - 1.0) * t).ln(),
            Self::Power(exponent) => alpha * t.powf(exponent),
        }
    }
}

/// The bound of each look in standard errors. `information` is the share of the final information at each look, rising, at
/// most 1; two-sided bounds are symmetric. `None` for other shares, or more than [`MAX_LOOKS`].
#[must_use]
pub fn bounds(information: &[f64], alpha: f64, spending: Spending, one_sided: bool) -> Option<Vec<f64>> {
    let rising = information.windows(2).all(|pair| pair[0] < pair[1]);
    let within = information.iter().all(|t| *t > 0.0 && *t <= 1.0);
    if !rising || !within || information.len() > MAX_LOOKS {
        return None;
    }
    // Two-sided bounds are one of each side, at half the level.
    let alpha = if one_sided { alpha } else { alpha / 2.0 };
    let (mut before, mut spent) = (Density::start(), 0.0);
    let mut found = Vec::with_capacity(information.len());
    for &t in information {
        let now = spending.spent(t, alpha);
        let bound = before.bound(t, now - spent);
        let lowest = if one_sided { -FARTHEST } else { -bound };
        before = before.step(t, lowest * t.sqrt(), bound * t.sqrt());
        spent = now;
        found.push(bound);
    }
    Some(found)
}

/// The density of the score `Z sqrt t` among trials that go on, on a grid with the weights of Simpson's rule.
struct Density {
    t: f64,
    /// Place, and density times weight.
    points: Vec<(f64, f64)>,
}

impl Density {
    /// All at zero.
    fn start() -> Self {
        Self { t: 0.0, points: vec![(0.0, 1.0)] }
    }

    /// The chance that a trial which went on is above `score` at `t`.
    fn above(&self, t: f64, score: f64) -> f64 {
        let step = (t - self.t).sqrt();
        self.points.iter().map(|(place, mass)| mass * normal_above((score - place) / step)).sum()
    }

    /// The bound in standard errors that this chance lies above.
    fn bound(&self, t: f64, chance: f64) -> f64 {
        let (mut low, mut high) = (-FARTHEST, FARTHEST);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.above(t, middle * t.sqrt()) > chance { low = middle } else { high = middle }
        }
        high
    }

    /// The density at `t` of trials that are between two scores then.
    fn step(&self, t: f64, low: f64, high: f64) -> Self {
        let deviation = (t - self.t).sqrt();
        let width = (high - low) / (POINTS - 1) as f64;
        let scale = width / 3.0 / (deviation * (2.0 * std::f64::consts::PI).sqrt());
        let point = |index: usize| {
            let place = low + width * index as f64;
            let weight = match index {
                0 => 1.0,
                last if last == POINTS - 1 => 1.0,
                odd if odd % 2 == 1 => 4.0,
                _ => 2.0,
            };
            let density =
                self.points.iter().map(|(from, mass)| mass * (-0.5 * ((place - from) / deviation).powi(2)).exp());
            (place, density.sum::<f64>() * weight * scale)
        };
        Self { t, points: (0..POINTS).map(point).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKS: [f64; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

    #[test]
    fn known_answers() {
        let rows = [
            (Spending::OBrienFleming, false, [4.876_9, 3.357_0, 2.680_3, 2.289_8, 2.031_0]),
            (Spending::Pocock, false, [2.438_0, 2.426_8, 2.410_2, 2.396_6, 2.386_0]),
            (Spending::Power(2.0), false, [3.090_2, 2.714_1, 2.472_8, 2.279_9, 2.114_0]),
            (Spending::OBrienFleming, true, [4.229_2, 2.888_1, 2.298_1, 1.961_8, 1.739_7]),
            (Spending::Power(2.0), true, [2.878_2, 2.470_2, 2.200_9, 1.981_8, 1.790_2]),
        ];
        for (spending, one_sided, wanted) in rows {
            let found = bounds(&LOOKS, 0.05, spending, one_sided).unwrap();
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-4, "{spending:?} {one_sided}: {found} is not {wanted}");
            }
        }
    }

    #[test]
    fn one_look_is_the_fixed_horizon() {
        let found = bounds(&[1.0], 0.05, Spending::Pocock, false).unwrap();
        assert!((found[0] - 1.959_964).abs() < 1e-6, "{found:?}");
        assert_eq!(bounds(&[], 0.05, Spending::Pocock, false), Some(Vec::new()));
        for looks in [[0.5, 0.5], [0.5, 0.4], [0.0, 1.0], [0.5, 1.1], [f64::NAN, 1.0]] {
            assert_eq!(bounds(&looks, 0.05, Spending::Pocock, false), None, "{looks:?}");
        }
    }
}
