"""Quantiles as arrays are those of sketches (test_simulate.py has them beside `decide`)."""

import math

import numpy as np

from core.experiments.cells import Cell, draw_runs, lognormal, plan_for, quantile_metric
from core.experiments.simulate_quantiles import judge_quantiles
from core.stats.quantile_sequences import quantile_contrast
from core.stats.sketches import LogSketch

LEVEL = math.log(20)


def test_a_finding_of_arrays_is_one_of_the_sketches() -> None:
    cell = Cell("slower", plan_for(quantile_metric(0.8)), lognormal(5, 0.6, lift=0.6))
    runs = draw_runs(cell, np.random.default_rng(4), 3, 800)
    counts = np.stack([(runs.arms == k).cumsum(axis=1) for k in (0, 1)])
    over, value = judge_quantiles(runs, counts, 0.8, LEVEL)
    assert over.any()
    assert (value[over] > 0).all()
    for run in range(3):
        for units in range(50, 801, 50):
            y, order = runs.totals[run, :units], runs.arms[run, :units]
            found = quantile_contrast(LogSketch.of(y[order == 1]), LogSketch.of(y[order == 0]), 0.8)
            assert bool(over[0, run, units - 1]) == (found.log_e > LEVEL)
