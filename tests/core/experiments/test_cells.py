"""The worlds of the benchmark are what their names say."""

import numpy as np
import pytest

from core.experiments.cells import Cell, draw_runs, null_cells, power_cells

CELLS = [*null_cells(), *power_cells(1000)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_lift_of_a_cell_is_what_its_units_show(cell: Cell) -> None:
    runs = draw_runs(cell, np.random.default_rng(1), 1, 400_000)
    sizes = np.ones_like(runs.totals) if runs.sizes is None else runs.sizes
    shares = [(runs.arms[0] == k) for k in range(len(cell.plan.arms))]
    assert [share.mean() for share in shares] == pytest.approx(list(cell.plan.weights), abs=0.01)
    base, other = (runs.totals[0][mask].sum() / sizes[0][mask].sum() for mask in shares[:2])
    rough = 0.35 if "3 %" in cell.name else 0.2 if "0.005" in cell.name else 0.07
    assert other / base - 1 == pytest.approx(cell.lift, abs=rough)
    assert cell.is_null == (cell.lift == 0)


def test_clusters_hang_together_by_a_tenth() -> None:
    (cell,) = (each for each in null_cells() if each.name == "clusters, ICC .1")
    runs = draw_runs(cell, np.random.default_rng(2), 1, 200_000)
    assert runs.sizes is not None
    y, x = runs.totals[0], runs.sizes[0]
    pairs, share = (x * (x - 1)).sum(), y.sum() / x.sum()
    both = (y * (y - 1)).sum() / pairs
    assert (both - share**2) / (share * (1 - share)) == pytest.approx(0.1, abs=0.01)


def test_the_benchmark_has_every_cell_that_is_asked_for() -> None:
    names = [cell.name for cell in null_cells()]
    assert len(names) == len(set(names))
    for part in (
        "0.005",
        "0.02",
        "share 0.1",
        "0.5",
        "0.9",
        "mean of logn",
        "p95",
        "3 %",
        "ratio",
        "ICC",
        "3 arms",
        "90/10",
    ):
        assert any(part in name for name in names)
