"""Why reports are not adjusted by what the same buckets of users did before (CUPED): what it would claim, and what is so.

    target/oracle/bin/python benches/covariate.py

Both arms are alike. Each user has a value before, when nobody was drawn, and one after, correlated by RHO. Evidence from
before knows the bucket of a user but not the arm that is drawn later, so both arms of a bucket have the same covariate.
Told are, by number of users: what gbstats' RegressionAdjustedStatistic takes off the variance with buckets as units, by how
much the estimate really varies less over TRIALS, and how often its interval of 95 % misses zero; and beside them the share
that a covariate of each user would take off. Needs tests/oracle/requirements.txt.
"""

import numpy as np
from gbstats.frequentist.tests import FrequentistConfig, TwoSidedTTest
from gbstats.models.statistics import RegressionAdjustedStatistic, SampleMeanStatistic, compute_theta

BUCKETS, RHO, TRIALS = 1024, 0.8, 2_000


def statistic(post, pre):
    means = [SampleMeanStatistic(len(x), x.sum(), (x * x).sum()) for x in (post, pre)]
    return RegressionAdjustedStatistic(len(post), *means, (post * pre).sum(), 0.0)


def trial(random, users):
    bucket, arm = random.integers(0, BUCKETS, users), random.integers(0, 2, users)
    before = random.normal(size=users)
    after = RHO * before + np.sqrt(1 - RHO**2) * random.normal(size=users)
    sums = lambda values, who: np.bincount(bucket[who], values[who], BUCKETS)
    everybody = np.ones(users, bool)
    known = sums(before - before.mean(), everybody)
    arms = []
    for index in (0, 1):
        who = arm == index
        count = np.bincount(bucket[who], minlength=BUCKETS)
        used = count > 0
        # What the ratio of sums is made of: residuals by bucket over the mean number of users of a bucket.
        ratio = after[who].mean()
        residuals = ratio + (sums(after, who) - ratio * count)[used] / count[used].mean()
        arms.append(statistic(residuals, known[used] / count[used].mean()))
    plain = arms[1].post_statistic.mean - arms[0].post_statistic.mean
    variance = sum(one.post_statistic.variance / one.n for one in arms)
    theta = compute_theta(*arms)
    for one in arms:
        one.theta = theta
    found = TwoSidedTTest(*arms, FrequentistConfig(difference_type="absolute")).compute_result()
    adjusted = sum(one.variance / one.n for one in arms)
    return plain, found.expected, 1 - adjusted / variance, not found.ci[0] <= 0 <= found.ci[1]


def main():
    random = np.random.default_rng(20_261_121)
    print("| users | claimed off the variance | really off | intervals of 95 % that miss | by user |")
    print("|---|---|---|---|---|")
    for users in (500, 2_000, 10_000, 50_000):
        plain, adjusted, claimed, missed = np.array([trial(random, users) for _ in range(TRIALS)]).T
        shares = [claimed.mean(), 1 - adjusted.var() / plain.var(), missed.mean(), RHO**2]
        print(f"| {users:,} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")


if __name__ == "__main__":
    main()
