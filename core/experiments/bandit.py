"""How a bandit's shares follow from what its arms have shown.

The shares are made anew at each fold and hold until the next one, the same in every process. Each assignment keeps the
share that its arm had. Arms are compared by the discordant pairs of first outcomes: the k-th unit of an arm shows the
same whatever made the bandit choose it, as long as arms do not change over time, so that the e-process stays valid.
"""

from collections.abc import Mapping

from core.experiments.records import BanditRule, Experiment, Strategy
from core.experiments.tally import Tally
from core.stats.bandits import best_of_shares, thompson, top_two, with_floor

FLOOR = 0.05  # no arm gets less: what is not tried any more is never found to have become better


def allocation_of(experiment: Experiment, tally: Tally) -> Mapping[str, float] | None:
    """The share of each arm from now on; None where the strategy is another one."""
    if experiment.strategy is not Strategy.BANDIT:
        return None
    arms = [arm for arm in experiment.arms if arm.weight > 0]
    firsts = [tally.arms[arm.id].first for arm in arms]
    log_best = best_of_shares(
        [first.y for first in firsts],
        [first.n - first.y for first in firsts],
        higher_is_better=experiment.plan.primary.higher_is_better,
    )
    rule = top_two if experiment.bandit is BanditRule.TOP_TWO else thompson
    shares = with_floor(rule(log_best), min(FLOOR, 1 / (2 * len(arms))))
    return {arm.id: float(share) for arm, share in zip(arms, shares, strict=True)}
