"""Small trials: wrong winners are rare, right ones are found, and chi-square at every look is fooled."""

import pytest

from core.experiments.cells import null_cells, power_cells
from core.experiments.trials import (
    CLASSIC,
    DELTA,
    ceiling,
    decided,
    false_positives,
    power,
    run_null,
    run_power,
)

NULL = {cell.name: cell for cell in null_cells()}


@pytest.mark.parametrize(
    "name",
    [
        "share 0.1",
        "p95 of lognormal(5, .6)",
        "clusters, ICC .1",
        "90/10, mean of 3 % lognormal(3, 1.5)",
        "3 arms, share .1",
    ],
)
def test_looking_at_every_unit_names_few_wrong_winners(name: str) -> None:
    found = false_positives(NULL[name], runs=60, units_per_arm=1500, seed=4)
    assert max(found.winners.values()) <= 0.10  # of 60 runs; the benchmark has 2,000 and 6 %
    assert found.winners["every unit from 1"] >= found.winners["20 looks"]


def test_the_classic_test_at_every_unit_is_fooled_in_a_third_of_the_runs() -> None:
    found = false_positives(NULL["share 0.5"], runs=60, units_per_arm=3000, seed=4)
    peer = found.peers[CLASSIC]
    assert peer["every unit from 100"] > 0.25
    assert peer["every unit from 100"] > peer["20 looks"]


def test_a_relative_lift_by_the_delta_method_is_fooled_by_rare_successes() -> None:
    found = false_positives(NULL["share 0.005"], runs=60, units_per_arm=3000, seed=4)
    assert found.peers[DELTA]["every unit from 100"] > 0.08
    assert found.winners["every unit from 100"] <= 0.05


def test_a_better_arm_is_found_and_its_interval_holds() -> None:
    cell = power_cells(3000)[1]
    found = power(cell, runs=30, units_per_arm=3000, seed=1)
    assert found.shipped > 0.2
    assert found.rolled_back == 0
    assert found.coverage >= 0.9
    assert 100 < found.mean_units_per_arm < 3000


def test_planned_looks_find_more_of_the_same() -> None:
    cells = power_cells(3000)
    always, planned = (power(cells[place], runs=60, units_per_arm=3000, seed=1) for place in (1, 3))
    assert planned.shipped > always.shipped


def test_decide_itself_is_asked_at_its_looks() -> None:
    assert decided(NULL["mean of lognormal(5, .6)"], runs=5, units_per_arm=300, looks=4, seed=1) <= 0.2
    strong = power_cells(400)[4]
    assert decided(strong, runs=3, units_per_arm=4000, looks=3, seed=1) > 0.5


def test_cells_are_chosen_by_name_and_have_seeds_of_their_own() -> None:
    told: list[str] = []
    (one,) = run_null(runs=10, units_per_arm=100, seed=1, named="ratio", tell=told.append)
    assert one.cell == "ratio, revenue per click"
    assert len(told) == 1
    assert run_power(runs=10, units_per_arm=100, seed=1, named="nothing like it") == []


def test_the_ceiling_is_wilsons() -> None:
    assert ceiling(0.05, 2000) == pytest.approx(0.0605, abs=5e-4)
