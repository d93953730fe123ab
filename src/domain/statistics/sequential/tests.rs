use super::*;
use crate::domain::statistics::ratio::relative;
use proptest::prelude::*;

fn near(found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{found} is not {wanted}");
}

/// gbstats' test data: mean and its variance from count, sum and sum of squares.
fn mean(count: f64, sum: f64, squares: f64) -> Estimate {
    Estimate { value: sum / count, variance: (squares - sum * sum / count) / (count - 1.0) / count }
}

fn gbstats() -> (Estimate, Estimate, f64) {
    let (control, candidate) = (mean(3_000.0, 1_396.87, 52_377.976_7), mean(3_461.0, 2_422.7, 134_698.29));
    (control, candidate, 6_461.0)
}

/// GrowthBook tunes by a number of users: the variance of one of `n` is `V n`.
fn tuned(estimate: Estimate, users: f64, at: f64, alpha: f64) -> f64 {
    tuning(estimate.variance * users / at, alpha)
}

#[test]
fn growthbooks_absolute_difference() {
    let (control, candidate, users) = gbstats();
    let difference = contrast(control, candidate, 0.0);
    near(difference.value, 0.234_376_666_666_666_68, 1e-12);
    near(difference.standard_error(), 0.129_830_812_541_847_36, 1e-12);
    let tau2 = tuned(difference, users, 5_000.0, 0.1);
    let width = half_width_one_sided(difference.variance, tau2, 0.05);
    near(difference.value - width, -0.126_568_441_728_049_82, 1e-12);
    near(difference.value + width, 0.595_321_775_061_383_2, 1e-12);
    let tau2 = tuned(difference, users, 5_000.0, 0.05);
    let Interval { lower, upper } = interval(difference, tau2, 0.05);
    near(lower, -0.160_116_528, 1e-9);
    near(upper, 0.628_869_862, 1e-9);
    near(ln_e_value(difference, tau2).exp(), 1.315_573_08, 1e-8);
    near(p_value(ln_e_value(difference, tau2)), 0.760_125_01, 1e-8);
}

#[test]
fn growthbooks_relative_difference() {
    let (control, candidate, users) = gbstats();
    let lift = relative(control, candidate).unwrap();
    near(lift.value, 0.503_361_085_856_235_8, 1e-12);
    near(lift.standard_error(), 0.333_412_214_640_073_5, 1e-12);
    let width = half_width_one_sided(lift.variance, tuned(lift, users, 5_000.0, 0.1), 0.05);
    near(lift.value - width, -0.423_564_546_027_908_83, 1e-12);
    near(lift.value + width, 1.430_286_717_740_380_6, 1e-12);
    let tau2 = tuned(lift, users, 1_000.0, 0.05);
    let Interval { lower, upper } = interval(lift, tau2, 0.05);
    near(lower, -0.558_44, 1e-5);
    near(upper, 1.565_16, 1e-5);
    assert_eq!(p_value(ln_e_value(lift, tau2)), 1.0);
}

#[test]
fn growthbooks_proportions() {
    let rate = |k: f64, n: f64| Estimate { value: k / n, variance: k / n * (1.0 - k / n) / n };
    let lift = relative(rate(1_396.0, 3_000.0), rate(2_422.0, 3_461.0)).unwrap();
    near(lift.value, 0.503_86, 1e-5);
    let Interval { lower, upper } = interval(lift, tuned(lift, 6_461.0, 5_000.0, 0.05), 0.05);
    near(lower, 0.400_98, 1e-5);
    near(upper, 0.606_75, 1e-5);
}

#[test]
fn tuning_is_that_of_others() {
    near(tuning(1.0 / 5_000.0, 0.05).sqrt(), 0.039_840_066_8, 1e-10);
    near(tuning(1.0 / 5_000.0, 0.1).sqrt(), 0.035_577_688_5, 1e-10);
    near(1.0 / tuning(1.0 / 100.0, 0.05), 12.600_56, 1e-5);
}

/// confseq speaks of a sum `s` at intrinsic time `v`: the estimate is `s / v` with variance `1 / v`.
#[test]
fn confseqs_mixtures() {
    let of = |s: f64| Estimate { value: s / 100.0, variance: 1.0 / 100.0 };
    let tau2 = tuning(1.0 / 100.0, 0.05);
    near(half_width(1.0 / 100.0, tau2, 0.05) * 100.0, 30.352_09, 1e-5);
    near(ln_e_value(of(10.0), tau2), -0.651_005_2, 1e-7);
    let tau2 = tuning(1.0 / 100.0, 0.1);
    near(ln_e_value_greater(of(10.0), tau2), -0.065_023_91, 1e-8);
    // Its bound solves E = 1 / alpha; ours is a closed form a little above.
    near(ln_e_value_greater(of(27.660_71), tau2), 20.0_f64.ln(), 1e-6);
    let closed = half_width_one_sided(1.0 / 100.0, tau2, 0.05) * 100.0;
    assert!((27.660_71..27.8).contains(&closed), "{closed}");
}

#[test]
fn tensorzeros_margin() {
    let (n, variance, rho) = (100.0, 0.25, 0.296_f64);
    near(half_width(variance / n, variance * variance * rho * rho, 0.05), 0.161_373_7, 1e-7);
}

#[test]
fn boundaries_in_standard_errors() {
    let rows = [
        (0.01, 9.028, 9.084),
        (0.1, 3.679, 3.855),
        (0.5, 2.840, 3.084),
        (1.0, 2.779, 3.035),
        (2.0, 2.801, 3.061),
        (10.0, 2.989, 3.242),
        (100.0, 3.329, 3.562),
    ];
    for (fraction, one_sided, two_sided) in rows {
        let variance = 1.0 / fraction;
        near(half_width_one_sided(variance, tuning(1.0, 0.1), 0.05) / variance.sqrt(), one_sided, 6e-4);
        near(half_width(variance, tuning(1.0, 0.05), 0.05) / variance.sqrt(), two_sided, 6e-4);
    }
}

#[test]
fn the_robust_method_spends_by_looks() {
    let rows = [(1, 1.960), (2, 2.394), (3, 2.638), (5, 2.935), (10, 3.317), (20, 3.675), (30, 3.873), (50, 4.112)];
    for (look, z) in rows {
        near(half_width_robust(1.0, look, 0.05), z, 6e-4);
    }
    let all: f64 = (1..100_000).map(|look| spent(0.05, look)).sum();
    assert!(all < 0.05 && all > 0.049_9, "{all}");
}

#[test]
fn a_guardrail_has_three_answers() {
    let guardrail = Guardrail { tolerance: 0.0, margin: 0.1, alpha_regressed: 0.05, alpha_non_inferior: 0.05 };
    let tau2 = tuning(target_variance(0.1, 0.05, 0.8), 0.1);
    let rows = [
        (0.2, 1e-4, Verdict::Regressed),
        (-0.05, 1e-4, Verdict::NonInferior),
        (0.02, 1e-4, Verdict::NonInferior),
        (0.05, 1e-2, Verdict::Inconclusive),
        (0.5, 0.0, Verdict::Inconclusive),
        (0.05, f64::INFINITY, Verdict::Inconclusive),
    ];
    for (value, variance, verdict) in rows {
        assert_eq!(guardrail.judge(Estimate { value, variance }, tau2).verdict, verdict, "{value} {variance}");
    }
    near(target_variance(0.1, 0.05, 0.8), (0.1_f64 / (1.644_853_63 + 0.841_621_23)).powi(2), 1e-10);
}

#[test]
fn a_contrast_needs_no_division() {
    let of = |value, variance| Estimate { value, variance };
    let contrast = contrast(of(0.0, 0.0), of(0.02, 1e-4), 0.1);
    assert_eq!(contrast, of(0.02, 1e-4));
    let contrast = super::contrast(of(2.0, 0.25), of(3.0, 0.5), 0.5);
    assert_eq!(contrast, of(0.0, 0.5 + 2.25 * 0.25));
}

proptest! {
    #[test]
    fn nothing_is_ever_nan(value in any::<f64>(), variance in any::<f64>(), tau2 in any::<f64>(), alpha in any::<f64>()) {
        let estimate = Estimate { value: if value.is_finite() { value } else { 0.0 }, variance: variance.abs() };
        for number in [
            half_width(estimate.variance, tau2, alpha),
            half_width_one_sided(estimate.variance, tau2, alpha),
            ln_e_value(estimate, tau2),
            ln_e_value_greater(estimate, tau2),
            p_value(ln_e_value(estimate, tau2)),
        ] {
            prop_assert!(!number.is_nan() || variance.is_nan() || alpha.is_nan(), "{}", number);
        }
    }

    #[test]
    fn an_interval_excludes_zero_just_where_the_evidence_says_so(value in -5.0_f64..5.0, variance in 1e-6_f64..10.0, at in 1e-6_f64..10.0) {
        let (estimate, tau2) = (Estimate { value, variance }, tuning(at, 0.05));
        let width = half_width(variance, tau2, 0.05);
        // At the border itself either may hold.
        prop_assume!((value.abs() - width).abs() > 1e-9 * width);
        prop_assert_eq!(value.abs() > width, ln_e_value(estimate, tau2) > 20.0_f64.ln());
    }
}
