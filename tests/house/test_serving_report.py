"""The report of the serving benchmarks enters what was measured, in full and quietly, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serving_report as report
from core.settings import PROJECT_ROOT

BATCH = {"byte_limit": 0.8, "wall": {"share_of_base": 0.72, "times_peft_mixed": 3.0, "times_peft_one_by_one": 5.0,
                                     "mixtures_of_3_over_base": 1.3}}  # fmt: skip


def printed(*, quick: bool = False, load: float = 0.4) -> dict[str, Any]:
    return {"benchmark": "serve_batch", "quick": quick, "load_average": [load, 2.5], "batch_of_8": BATCH}


def rows_of(result: dict[str, Any]) -> dict[str, str]:
    told = [report.tell(figure, {"serve_batch": result}) for figure in report.FIGURES]
    lines = report.table(told).splitlines()[2:]
    return {line.split(" | ")[0].lstrip("| "): line for line in lines}


def test_a_quiet_figure_stands_with_its_share_of_the_limit() -> None:
    row = rows_of(printed())["8 adapters in a batch of 8, share of base speed (`serve_batch.py`)"]
    assert row.split(" | ")[1:4] == ["0.72 (missed)", "≥ 0.8", "0.9 of 0.8"]


def test_a_figure_that_should_be_small_has_the_limit_over_it() -> None:
    row = rows_of(printed())["8 mixtures of 3 in one batch, over the base (`serve_batch.py`)"]
    assert row.split(" | ")[1:4] == ["1.3×", "≤ 1.35×", "0.962 of 1.25"]


@pytest.mark.parametrize("result", [printed(quick=True), printed(load=99.0), {"batch_of_8": BATCH}])
def test_a_quick_busy_or_unsure_run_is_not_entered(result: dict[str, Any]) -> None:
    assert {line.split(" | ")[1] for line in rows_of(result).values()} == {report.NOT_MEASURED}


def test_what_a_script_left_out_is_not_measured() -> None:
    assert (
        report.NOT_MEASURED
        in rows_of(printed())["32 adapters in a batch of 32, share of base speed (`serve_batch.py`)"]
    )


def test_writing_leaves_the_rest_of_the_guide_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide, plot = tmp_path / "guide.md", tmp_path / "plot.svg"
    guide.write_text(f"before\n{report.BEGIN}\nthe table before\n{report.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(report, "GUIDE", guide)
    monkeypatch.setattr(report, "PLOT", plot)
    (tmp_path / "serve_batch.json").write_text(json.dumps(printed()), encoding="utf-8")
    report.write([report.tell(figure, report.read_results(tmp_path)) for figure in report.FIGURES])
    text = guide.read_text("utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\n| what")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "the table before" not in text
    assert re.findall(r">(0\.\d+)</text>", plot.read_text("utf-8")) == ["0.9", "0.962"]


def test_the_guide_has_every_row_and_the_markers() -> None:
    text = report.GUIDE.read_text("utf-8")
    table = text.partition(report.BEGIN)[2].partition(report.END)[0]
    assert [line.split(" (`")[0][2:] for line in table.strip().splitlines()[2:]] == [
        f.what for f in report.FIGURES
    ]


def test_every_script_of_the_report_is_there() -> None:
    scripts = {path.stem for path in (PROJECT_ROOT / "benchmarks").glob("*.py")}
    assert {figure.script for figure in report.FIGURES} == set(report.RUNS)
    assert set(report.RUNS) <= scripts
