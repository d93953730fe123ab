"""Power of the gateway's always-valid test beside gbstats' sequential test, on the same data.

    cargo bench --bench simulate -- power | target/oracle/bin/python benches/power.py

Reads JSON lines: a head for each kind of users, then a line for each trial with what the gateway decided and, for each
look, the sums of both arms over users. gbstats is given these as a ratio of sums over users (RatioStatistic), which with
one request a user is a mean, and is asked for the absolute difference, as the gateway's verdict is. It runs as it is
delivered (5,000 users) and tuned as the gateway is. Needs tests/oracle/requirements.txt.
"""

import json
import statistics
import sys

from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
from gbstats.models.statistics import RatioStatistic, SampleMeanStatistic

DEFAULT_TUNING = 5_000
BY = (10, 20, 40)


def statistic(n, s, ss, d, dd, sd):
    return RatioStatistic(
        n=int(n),
        m_statistic=SampleMeanStatistic(int(n), s, ss),
        d_statistic=SampleMeanStatistic(int(n), d, dd),
        m_d_sum_of_products=sd,
    )


def decided(looks, tunings):
    """The look at which gbstats' interval excludes zero for the first time, for each tuning."""
    configs = {t: SequentialConfig(difference_type="absolute", sequential_tuning_parameter=t) for t in tunings}
    first = {}
    for number, sums in looks:
        arms = [statistic(*arm) for arm in sums]
        for tuning in [t for t in tunings if t not in first]:
            lower, upper = SequentialTwoSidedTTest(*arms, configs[tuning]).compute_result().ci
            if lower > 0 or upper < 0:
                first[tuning] = number
        if len(first) == len(tunings):
            break
    return [first.get(t) for t in tunings]


def share(count, trials):
    return f"{100 * count / trials:.1f}"


def cell(found):
    """Shares by look, and the look of decision in the median of those that decided."""
    known = sorted(look for look in found if look)
    by = " / ".join(share(sum(look <= last for look in known), len(found)) for last in BY)
    return f"{by} % ({statistics.median_low(known) if known else '-'})"


def table(head, trials):
    tunings = [DEFAULT_TUNING, head["tuning"]]
    by = ", ".join(map(str, BY))
    print(
        f"\n{head['kind']}: {head['users']:,} users, {head['trials']} trials of each effect; one standard error is"
        f" {100 * head['standard_error']:.2f} % of control, the plan {100 * head['effect']:.1f} %."
        f" Decided by look {by} (median look of those):\n"
    )
    print(f"| effect | the gateway | gbstats, N* = {tunings[0]:,} | gbstats, N* = {round(tunings[1]):,} | one look at the end |")
    print("|---|---|---|---|---|")
    for effect in sorted({trial["effect"] for trial in trials}):
        of = [trial for trial in trials if trial["effect"] == effect]
        theirs = zip(*(decided(trial["seen"], tunings) for trial in of))
        cells = [cell([trial["decided"] for trial in of]), *map(cell, theirs)]
        once = share(sum(trial["once"] for trial in of), len(of))
        print(f"| {effect} ({100 * effect * head['standard_error']:+.1f} %) | {' | '.join(cells)} | {once} % |")


def main():
    head, trials = None, []
    for line in map(json.loads, filter(str.strip, sys.stdin)):
        if "kind" in line:
            if trials:
                table(head, trials)
            head, trials = line, []
        else:
            trials.append(line)
    table(head, trials)


if __name__ == "__main__":
    main()
