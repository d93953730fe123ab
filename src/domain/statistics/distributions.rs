//! The distributions that tests need, without ways to fail: arguments are forced into range.

use statrs::distribution::{ChiSquared, Continuous as _, ContinuousCDF as _, Normal, StudentsT};

/// Above so many degrees of freedom, Student's t is the normal distribution to nine digits.
const NORMAL_FROM: f64 = 1e9;
/// Steps of Newton's method that make a quantile of Student's t exact.
const POLISH: usize = 3;

/// P(Z ≤ z) for a standard normal Z.
#[must_use]
pub fn normal_below(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// P(Z > z), exact where it is small.
#[must_use]
pub fn normal_above(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// The z with P(Z ≤ z) = p; p is forced into 0 to 1, whose ends give the infinities.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    // A tail of a tiny probability is exact only where it lies near zero.
    let p = p.clamp(0.0, 1.0);
    Normal::standard().inverse_cdf(p)
}

/// The z with P(Z > z) = p, exact for small p.
#[must_use]
pub fn normal_upper_quantile(p: f64) -> f64 {
    -normal_quantile(p)
}

/// P(T > t) for Student's t.
#[must_use]
pub fn t_above(t: f64, degrees: f64) -> f64 {
    student(degrees).map_or_else(|| normal_above(t), |student| student.sf(t))
}

/// The t with P(T > t) = p.
#[must_use]
pub fn t_upper_quantile(p: f64, degrees: f64) -> f64 {
    let Some(student) = student(degrees) else { return normal_upper_quantile(p) };
    let p = p.clamp(0.0, 1.0);
    let mut t = -student.inverse_cdf(p);
    for _ in 0..POLISH {
        let step = (student.sf(t) - p) / student.pdf(t);
        if !step.is_finite() {
            break;
        }
        t += step;
    }
    t
}

/// P(X > x) for chi-square.
#[must_use]
pub fn chi_square_above(x: f64, degrees: f64) -> f64 {
    ChiSquared::new(degrees.max(f64::MIN_POSITIVE)).map_or(1.0, |chi| chi.sf(x.max(0.0)))
}

/// Student's t; none where it is the normal distribution.
fn student(degrees: f64) -> Option<StudentsT> {
    let known = degrees > 0.0 && degrees < NORMAL_FROM;
    known.then(|| StudentsT::new(0.0, 1.0, degrees).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with scipy.
    #[test]
    fn known_answers() {
        let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-9, "{found} {wanted}");
        near(normal_below(1.96), 0.975_002_104_851_779_5);
        near(normal_above(6.0), 9.865_876_450_376_946e-10);
        near(normal_quantile(0.975), 1.959_963_984_540_054);
        near(normal_upper_quantile(1e-9), 5.997_807_015_007_774);
        near(t_above(2.0, 5.0), 0.050_969_739_414_929_18);
        near(t_upper_quantile(0.025, 3.5), 2.940_088_637_982_729_6);
        near(t_upper_quantile(0.025, 30.0), 2.042_272_456_301_238);
        near(t_upper_quantile(0.025, 1e12), 1.959_963_984_540_054);
        near(chi_square_above(3.841_458_820_694_124, 1.0), 0.05);
        near(chi_square_above(44.4444, 1.0), 2.616_844_343_886_774e-11);
    }

    #[test]
    fn ends_are_defined() {
        assert_eq!((normal_quantile(-1.0), normal_quantile(2.0)), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(chi_square_above(-1.0, 0.0), 1.0);
        assert_eq!(t_upper_quantile(0.5, 4.0), 0.0);
    }
}
