"""Computes what the gateway computed, with public packages, and tells where they differ.

Reads one JSON list of cases from stdin: {"kind", "input", "found": {name: number}}. Writes one JSON object:
{"compared": {name: count}, "differences": [text]}. Numbers agree when they are within 1e-6 of each other, relative.
Where a definition differs from a package's, the comment at its line says how.
"""

import json
import math
import sys

import numpy as np
import statsmodels.api as sm
from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
from gbstats.models.statistics import (
    ProportionStatistic,
    QuantileClusteredStatistic,
    RatioStatistic,
    SampleMeanStatistic,
)
from gbstats.utils import check_srm
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import betaln, gammaln
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportion_effectsize,
    proportions_ztest,
    test_proportions_2indep,
)

TOLERANCE = 1e-6


def means(data):
    a, b = (np.array(data[arm]) for arm in ("control", "candidate"))
    welch = stats.ttest_ind(b, a, equal_var=False)
    pooled = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
    d = (b.mean() - a.mean()) / pooled
    statistic = [SampleMeanStatistic(len(x), float(x.sum()), float((x * x).sum())) for x in (a, b)]
    relative = TwoSidedTTest(*statistic, FrequentistConfig(difference_type="relative")).compute_result()
    found = {
        "welch.statistic": welch.statistic,
        "welch.p": welch.pvalue,
        "welch.degrees": welch.df,
        "welch.lower": welch.confidence_interval().low,
        "welch.upper": welch.confidence_interval().high,
        "cohen_d": d,
        "hedges_g": d * (1 - 3 / (4 * (len(a) + len(b)) - 9)),
        "relative.value": relative.expected,
        "relative.p": relative.p_value,
        "relative.lower": relative.ci[0],
        "relative.upper": relative.ci[1],
    }
    for name, difference in (("absolute", "absolute"), ("relative", "relative")):
        config = SequentialConfig(difference_type=difference, sequential_tuning_parameter=data["tuning"])
        result = SequentialTwoSidedTTest(*statistic, config).compute_result()
        found[f"sequential.{name}.lower"] = result.ci[0]
        found[f"sequential.{name}.upper"] = result.ci[1]
        found[f"sequential.{name}.p"] = result.p_value
    return found


def proportions(data):
    (ka, na), (kb, nb) = data["control"], data["candidate"]
    z, p = proportions_ztest([kb, ka], [nb, na])
    # statsmodels calls the test with each arm's own variance "wald".
    wald = test_proportions_2indep(kb, nb, ka, na, method="wald", compare="diff")
    table = [[kb, nb - kb], [ka, na - ka]]
    plain = stats.chi2_contingency(table, correction=False)
    yates = stats.chi2_contingency(table, correction=True)
    newcombe = confint_proportions_2indep(kb, nb, ka, na, method="newcomb", compare="diff")
    wilson = proportion_confint(kb, nb, method="wilson")
    return {
        "pooled.z": z,
        "pooled.p": p,
        "unpooled.z": wald.statistic,
        "unpooled.p": wald.pvalue,
        "chi_square": plain.statistic,
        "chi_square.p": plain.pvalue,
        "yates": yates.statistic,
        "yates.p": yates.pvalue,
        "newcombe.lower": newcombe[0],
        "newcombe.upper": newcombe[1],
        "wilson.lower": wilson[0],
        "wilson.upper": wilson[1],
        "fisher.p": stats.fisher_exact(table).pvalue,
        "cohen_h": proportion_effectsize(kb / nb, ka / na),
        "odds_ratio": stats.contingency.odds_ratio(table, kind="sample").statistic,
        "risk_ratio": stats.contingency.relative_risk(kb, nb, ka, na).relative_risk,
    }


def clusters(data):
    """Requests of users: statsmodels sees each request, the gateway sums by bucket; here each bucket is one user."""
    y, arm, user = [], [], []
    sums = []
    for index, side in enumerate(("control", "candidate")):
        for number, values in enumerate(data[side]):
            y += values
            arm += [index] * len(values)
            user += [2 * number + index] * len(values)
        sums.append([(sum(values), len(values)) for values in data[side]])
    fit = sm.OLS(np.array(y), sm.add_constant(np.array(arm)))
    # statsmodels' factor is G / (G - 1) * (N - 1) / (N - 2) over both arms; the gateway's K / (K - 1) for each arm. The test
    # takes the latter out, here the former is left out: what remains is the same sandwich.
    fit = fit.fit(cov_type="cluster", cov_kwds={"groups": np.array(user), "use_correction": False})
    found = {"ols.difference": fit.params[1], "ols.variance": fit.bse[1] ** 2}
    ratios = []
    for name, side in zip(("control", "candidate"), sums):
        s, d = (np.array(column, dtype=float) for column in zip(*side))
        ratio = RatioStatistic(
            n=len(s),
            m_statistic=SampleMeanStatistic(len(s), s.sum(), (s * s).sum()),
            d_statistic=SampleMeanStatistic(len(d), d.sum(), (d * d).sum()),
            m_d_sum_of_products=(s * d).sum(),
        )
        # gbstats' variance is that of one unit.
        found[f"ratio.{name}"] = ratio.mean
        found[f"ratio.{name}.variance"] = ratio.variance / len(s)
        ratios.append(ratio)
        left = [(s.sum() - x) / (d.sum() - y) for x, y in side]
        found[f"jackknife.{name}.variance"] = (len(s) - 1) / len(s) * ((np.array(left) - np.mean(left)) ** 2).sum()
    result = TwoSidedTTest(*ratios, FrequentistConfig(difference_type="relative")).compute_result()
    found["ratio.relative"] = result.expected
    found["ratio.relative.lower"] = result.ci[0]
    found["ratio.relative.upper"] = result.ci[1]
    return found


def mismatch(data):
    counts, share = data["counts"], data["share"]
    shares = np.array([1 - share, share])
    chi = stats.chisquare(counts, shares * sum(counts))
    prior = 1000 * shares
    beta = lambda a: gammaln(a).sum() - gammaln(a.sum())
    ln = beta(prior + counts) - beta(prior) - (np.array(counts) * np.log(shares)).sum()
    return {
        "srm.chi_square": chi.statistic,
        "srm.p": chi.pvalue,
        "srm.gbstats.p": check_srm(counts, list(shares)),
        "srm.ln_bayes_factor": ln,
    }


def power(data):
    solver = NormalIndPower()
    # Two-sided power counts rejections in the wrong direction, too; as one-sided at half the level it does not.
    size = solver.solve_power(effect_size=data["d"], alpha=data["alpha"] / 2, power=data["power"], alternative="larger")
    h = proportion_effectsize(data["p1"], data["p2"])
    by_h = solver.solve_power(abs(h), alpha=data["alpha"] / 2, power=data["power"], alternative="larger")
    return {"power.means": size, "power.by_angle": by_h}


def quantiles(data):
    s, d = np.array(data["up_to"], dtype=float), np.array(data["counts"], dtype=float)
    n, z = int(d.sum()), stats.norm.ppf(0.975)
    statistic = QuantileClusteredStatistic(
        n=n,
        n_star=n,
        nu=data["quantile"],
        quantile_hat=1.0,
        quantile_lower=0.0,
        quantile_upper=2 * z * data["standard_error"],
        main_sum=s.sum(),
        main_sum_squares=(s * s).sum(),
        denominator_sum=d.sum(),
        denominator_sum_squares=(d * d).sum(),
        main_denominator_sum_product=(s * d).sum(),
        n_clusters=len(s),
    )
    # gbstats' variance is that of one value, and has n - 1 in place of n.
    return {"quantile.variance": statistic.variance_init / (n - 1)}


def distributions(data):
    p, degrees, x = data["p"], data["degrees"], data["x"]
    return {
        "normal.quantile": stats.norm.ppf(p),
        "normal.above": stats.norm.sf(x),
        "t.quantile": stats.t.isf(p, degrees),
        "t.above": stats.t.sf(x, degrees),
        "chi_square.above": stats.chi2.sf(x, degrees),
    }


def looks(data):
    """When a sequential test decides, and its last interval. gbstats tunes by a number of users, which is given by look so
    that its mixing variance is the gateway's."""
    decided = 0
    for seen in data["seen"]:
        statistic = [SampleMeanStatistic(int(n), s, ss) for n, s, ss in seen["arms"]]
        config = SequentialConfig(difference_type="absolute", sequential_tuning_parameter=seen["tuning"])
        lower, upper = SequentialTwoSidedTTest(*statistic, config).compute_result().ci
        if not decided and (lower > 0 or upper < 0):
            decided = seen["look"]
    return {"looks.decided": decided, "looks.lower": lower, "looks.upper": upper}


def same_quantiles(data):
    """confseq has no wheel: its test as Howard and Ramdas write it, with every place as the common quantile, and the least
    evidence between how many values lie below that place and how many up to it."""
    q, level = data["quantile"], -2 * math.log(0.05)
    r = max(data["tuned"] * q * (1 - q) / (level + math.log(1 + level)) - q * (1 - q), 1e-3 * q * (1 - q))
    a, b = r / (1 - q), r / q
    counts = np.array(data["places"])
    evidence = 0
    for side in counts.T:
        n, up_to = side.sum(), side.cumsum()
        against = lambda k: betaln(a + k, b + n - k) - betaln(a, b) - k * math.log(q) - (n - k) * math.log(1 - q)
        least = minimize_scalar(against, bounds=(0, n), method="bounded", options={"xatol": 1e-10}).x
        evidence = evidence + against(np.clip(least, up_to - side, up_to))
    return {"same_quantiles.p": min(1, math.exp(-evidence.min()))}


KINDS = {
    function.__name__: function
    for function in (means, proportions, clusters, mismatch, power, quantiles, distributions, looks, same_quantiles)
}


def main():
    compared, differences = {}, []
    for number, case in enumerate(json.load(sys.stdin)):
        theirs = KINDS[case["kind"]](case["input"])
        for name, ours in case["found"].items():
            compared[name] = compared.get(name, 0) + 1
            other = theirs[name]
            apart = math.inf if ours is None else abs(ours - other)
            # Near zero the sums that both begin with are no more exact than this.
            if not apart <= TOLERANCE * max(abs(ours or 0), abs(other)) + 1e-12:
                differences.append(f"{case['kind']} {number}: {name}: {ours} is not {other}")
    print(json.dumps({"compared": compared, "differences": differences}))


if __name__ == "__main__":
    main()
