"""The arrays say at every look exactly what `decide` says: verdict and winner, for every kind of cell."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import InvalidInputError
from core.experiments.cells import (
    Cell,
    Runs,
    clusters,
    draw_runs,
    lognormal,
    mean_metric,
    null_cells,
    plan_for,
    power_cells,
    quantile_metric,
    share_metric,
    shares,
)
from core.experiments.decision import decide
from core.experiments.plan import MetricKind, MetricPlan, Mode, Plan, Verdict
from core.experiments.simulate import (
    VERDICTS,
    Schedule,
    evidence_at,
    first_winner,
    judge,
    schedules,
    verdicts,
)

UNITS = 360
STRONG = (
    Cell("a better share", plan_for(share_metric()), shares(0.3, 0.6)),
    Cell("a worse share", plan_for(share_metric()), shares(0.6, 0.3)),
    Cell("three arms", plan_for(share_metric(), (0.4, 0.3, 0.3)), shares(0.2, 0.6, 0.7)),
    Cell("a higher mean", plan_for(mean_metric()), lognormal(5, 0.6, lift=0.6)),
    Cell("three arms of lower means", plan_for(mean_metric(), (0.4, 0.4, 0.2)), lognormal(5, 0.6, lift=-0.4)),
    Cell("a slower p90", plan_for(quantile_metric(0.9)), lognormal(5, 0.6, lift=1.2)),
    Cell("a quicker median", plan_for(quantile_metric(0.5)), lognormal(5, 0.6, lift=-0.5)),
    Cell("clusters", plan_for(share_metric(), (0.7, 0.3), returning=True), clusters(0.3, 0.1)),
)
PLANNED = tuple(
    replace(cell, plan=replace(cell.plan, planned_units=180)) for cell in power_cells(180) if cell.balanced
)
GROUPS = (
    *PLANNED,
    Cell(
        "planned means",
        replace(PLANNED[0].plan, primary=mean_metric(), looks=6),
        lognormal(5, 0.6, lift=0.5),
        balanced=True,
    ),
    Cell("planned, better", replace(PLANNED[0].plan, looks=6), shares(0.3, 0.6), balanced=True),
)


def seen_by_decide(plan: Plan, runs: Runs, run: int, units: int, taken: int) -> tuple[Verdict, str | None]:
    found = decide(plan, evidence_at(plan, runs, run, units, looks_taken=taken))
    return found.verdict, found.winner


@pytest.mark.parametrize("cell", [*null_cells(), *STRONG], ids=lambda cell: cell.name)
def test_every_look_is_the_one_of_decide(cell: Cell) -> None:
    """All looks of one run; of others, and of pairs, whose ends are searched for, each change and every 19th."""
    plan = replace(cell.plan, minimum_units=40)
    runs = draw_runs(cell, np.random.default_rng(3), 2, UNITS)
    verdict, winner = verdicts(plan, judge(plan, runs))
    paired = plan.primary.kind is MetricKind.SHARE and not plan.returning
    for run in range(2):
        changes = np.flatnonzero(np.diff(verdict[run])) + 1
        every = 19 if paired or run else 1
        chosen = {*range(1 + run, UNITS + 1, every), *changes, *(changes + 1)}
        for units in sorted(int(each) for each in chosen):
            place = int(winner[run, units - 1])
            told = VERDICTS[verdict[run, units - 1]], plan.arms[place] if place >= 0 else None
            assert told == seen_by_decide(plan, runs, run, units, 0), units


@pytest.mark.parametrize("cell", GROUPS, ids=lambda cell: cell.name)
def test_every_planned_look_is_the_one_of_decide(cell: Cell) -> None:
    plan = replace(cell.plan, minimum_units=20)
    runs = draw_runs(cell, np.random.default_rng(5), 1, UNITS)
    verdict, winner = verdicts(plan, judge(plan, runs))
    taken, goal = 0, plan.planned_units or 1
    for units in range(1, UNITS + 1):
        place = int(winner[0, units - 1])
        told = VERDICTS[verdict[0, units - 1]], plan.arms[place] if place >= 0 else None
        assert told == seen_by_decide(plan, runs, 0, units, taken), units
        taken = max(taken, (units // 2) * plan.looks // goal)


def test_the_strong_cells_reach_winners_on_both_sides() -> None:
    reached = set()
    for cell in STRONG:
        runs = draw_runs(cell, np.random.default_rng(3), 4, UNITS)
        reached |= {VERDICTS[code] for code in verdicts(cell.plan, judge(cell.plan, runs))[0].ravel()}
    assert {Verdict.SHIP, Verdict.ROLLBACK, Verdict.KEEP_RUNNING} <= reached


def test_a_sample_ratio_that_is_off_names_nobody() -> None:
    cell = STRONG[0]
    runs = draw_runs(cell, np.random.default_rng(1), 1, 1500)
    wrong = replace(cell.plan, weights=(0.7, 0.3))
    verdict, winner = verdicts(wrong, judge(wrong, runs))
    assert (VERDICTS[verdict[0, -1]], int(winner[0, -1])) == (Verdict.NO_DECISION, -1)
    assert seen_by_decide(wrong, runs, 0, 1500, 0) == (Verdict.NO_DECISION, None)
    assert first_winner(cell.plan, judge(cell.plan, runs), Schedule("", 1, 1, 1))[1][0] == 1


def test_the_first_winner_is_the_first_of_all_looks_and_the_minimum_counts() -> None:
    cell = STRONG[0]
    runs = draw_runs(cell, np.random.default_rng(9), 3, UNITS)
    looks = judge(cell.plan, runs)
    _, winner = verdicts(cell.plan, looks)
    when, arm = first_winner(cell.plan, looks, Schedule("", 1, 1, 1))
    for run in range(3):
        places = np.flatnonzero(winner[run] >= 0)
        assert when[run] == (places[0] + 1 if places.size else 0)
        assert arm[run] == (winner[run, places[0]] if places.size else -1)
    later, _ = first_winner(cell.plan, looks, Schedule("", 1, 1, 150))
    assert (later[later > 0] >= 300 - 60).all()
    seldom, _ = first_winner(cell.plan, looks, Schedule("", 90, 90, 1))
    assert set(seldom) <= {0, 90, 180, 270, 360}


def test_looks_are_those_of_the_benchmark() -> None:
    assert [(s.first, s.step, s.minimum) for s in schedules(2, 20_000)] == [
        (1000, 1000, 100),
        (200, 200, 100),
        (200, 1, 100),
        (20, 1, 10),
        (2, 1, 1),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"guardrails": (MetricPlan("x", mean_metric().kind),)},
        {"equivalence": 0.1},
        {"mode": Mode.HYBRID, "planned_units": 10},
        {"weights": (1.0, 0.0)},
    ],
)
def test_what_simulations_leave_out_is_refused(change: dict[str, object]) -> None:
    plan = replace(plan_for(share_metric()), **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="cannot be simulated"):
        judge(plan, draw_runs(STRONG[0], np.random.default_rng(1), 1, 10))
