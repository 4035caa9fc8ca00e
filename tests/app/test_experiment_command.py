"""experiment analyze | simulate, as a person and as a program use them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import main
from benchmarks.experiment_power import GOALS, judged
from benchmarks.false_positives import plot
from core.experiments.cells import power_cells
from core.experiments.trials import Power

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_one(*arguments: str, status: int = 0, text: bool = False) -> Any:
        capsys.readouterr()
        found = main([*arguments, *([] if text else ["--json"])])
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        return out + err if text else json.loads(out)

    return run_one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "rows.csv", 0.5, 0.6)


def written(path: Path, control: float, treatment: float) -> Path:
    draw = random.Random(5)
    lines = ["unit,variant,success,latency_ms"]
    for n in range(5000):
        variant = draw.choice("ab")
        success = draw.random() < (control if variant == "a" else treatment)
        lines.append(f"u{n},{variant},{int(success)},{draw.lognormvariate(5, 0.6):.2f}")
    path.write_text("\n".join(lines))
    return path


def test_everything_is_in_the_answer(run: Run, file: Path) -> None:
    told = run("experiment", "analyze", str(file))
    assert (told["verdict"], told["winner"], told["rows"], told["units"]) == ("ship", "b", 5000, 5000)
    assert told["one_look"][0]["label"] == "one look only"
    assert told["mismatch"]["found"] is False
    comparison = told["comparisons"][0]
    assert comparison["interval"]["low"] > 0
    assert comparison["relative"]["low"] > 0
    assert comparison["p_value"] < 0.05
    assert told["reason"].startswith("«b» is better than «a»")
    assert {"plan", "guardrails", "units_needed", "warnings", "notes", "crossed_units"} <= set(told)


def test_people_read_the_reason_first(run: Run, file: Path) -> None:
    told = run("experiment", "analyze", str(file), text=True)
    assert told.startswith("ship: b\n  «b» is better than «a»")
    assert "chi-square, one look only" in told
    assert "as planned" in told


def test_harm_and_arms_of_the_wrong_size_are_findings(run: Run, tmp_path: Path, file: Path) -> None:
    told = run("experiment", "analyze", str(written(tmp_path / "h.csv", 0.6, 0.5)), status=1)
    assert (told["verdict"], told["winner"]) == ("rollback", "a")
    told = run("experiment", "analyze", str(file), "--weights", "a=0.8,b=0.2", status=1)
    assert (told["verdict"], told["mismatch"]["found"]) == ("no_decision", True)


def test_an_end_that_is_nowhere_is_null_in_json(run: Run, tmp_path: Path) -> None:
    small = tmp_path / "s.csv"
    small.write_text("unit,variant,latency_ms\nu,a,5\nv,b,7\n")
    told = run("experiment", "analyze", str(small), "--primary", "latency_ms")
    assert told["comparisons"][0]["interval"]["high"] is None
    assert told["verdict"] == "no_decision"
    assert "?" in run("experiment", "analyze", str(small), "--primary", "latency_ms:p95", text=True)


def test_options_reach_the_plan(run: Run, file: Path) -> None:
    told = run(
        "experiment", "analyze", str(file), "--primary", "latency_ms:p95", "--guardrail", "success=0.02", "--control", "b",
        "--confidence", "0.9", "--margin", "3", "--returning", "--minimum-units", "50", status=1,
    )  # fmt: skip
    plan = told["plan"]
    assert (plan["arms"], plan["confidence"], plan["returning"], plan["minimum_units"]) == (
        ["b", "a"],
        0.9,
        True,
        50,
    )
    assert (plan["primary"]["quantile"], plan["primary"]["margin"], plan["primary"]["higher_is_better"]) == (
        0.95,
        3,
        False,
    )
    turned = run("experiment", "analyze", str(file), "--lower-is-better", "success", status=1)
    assert turned["verdict"] == "rollback"
    fixed = run(
        "experiment", "analyze", str(file), "--mode", "fixed", "--planned-units", "2400", "--no-returning"
    )
    assert fixed["comparisons"][0]["always_valid"] is False


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (("--primary", "revenue"), "The file has no column «revenue»."),
        (("--weights", "a:0.5"), "«a:0.5» does not give weights."),
        (("--primary", "latency_ms", "--cap=-1"), "A cap of -1 is not valid."),
        (("--primary", "latency_ms", "--cap", "nan"), "A cap of nan is not valid."),
        (("--confidence", "2"), "The plan of the experiment is not valid."),
    ],
)
def test_what_cannot_be_judged_has_a_status_of_its_own(
    run: Run, file: Path, given: tuple[str, ...], what: str
) -> None:
    told = run("experiment", "analyze", str(file), *given, status=2)
    assert told["error"]["what"] == what


def test_files_that_cannot_be_read_are_one_json_object_too(run: Run, tmp_path: Path) -> None:
    told = run("experiment", "analyze", str(tmp_path / "none.csv"), status=2)
    assert told["error"]["what"] == "There is no file «none.csv»."
    assert "is a folder" in run("experiment", "analyze", str(tmp_path), status=2)["error"]["what"]
    (tmp_path / "r.parquet").write_bytes(b"not one")
    told = run("experiment", "analyze", str(tmp_path / "r.parquet"), status=2)
    assert told["error"]["code"] == "invalid_input"


def test_usage_is_told_to_people(run: Run, file: Path) -> None:
    run("experiment", "analyze", str(file), "--mode", "sometimes", status=2, text=True)


def test_names_in_a_file_move_no_cursor(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "n.csv"
    file.write_text("unit,variant,success\nu,a\x1b[2J,1\nv,b,0\n")
    assert "\x1b" not in run("experiment", "analyze", str(file), text=True)
    wrong = run("experiment", "analyze", str(file), "--control", "z", status=2, text=True)
    assert "no variant «z»" in wrong
    assert "\x1b" not in wrong


def test_a_quick_simulation_prints_both_tables(run: Run) -> None:
    told = run("experiment", "simulate", "--quick", "--cell", "0.1")
    assert [each["cell"] for each in told["false_positives"]] == ["share 0.1"]
    text = run("experiment", "simulate", "--quick", "--cell", ".10", text=True)
    assert "ONE ARM IS BETTER" in text
    assert "EVERY UNIT" in run("experiment", "simulate", "--quick", "--cell", "ratio", text=True)
    told = run("experiment", "simulate", "--quick", "--cell", "nothing", status=2)
    assert "No cell" in told["error"]["what"]


def test_the_power_benchmark_has_goals_for_its_cells_and_misses_are_seen() -> None:
    assert {cell.name for cell in power_cells(100)} == set(GOALS)
    good = Power("always valid, .90 → .92", 2000, 10_000, 0.985, 0.0, 3_500, 0.96)
    assert judged(good)["passes"]
    assert not judged(Power(good.cell, 2000, 10_000, 0.985, 0.0, 3_500, 0.93))["passes"]
    assert not judged(Power(good.cell, 2000, 10_000, 0.985, 0.0, 3_700, 0.96))["passes"]


def test_the_plot_has_a_bar_for_each_cell_and_one_for_its_peer() -> None:
    cell = {"cell": "a < b", "worst": 0.031, "peers": {"classic test at .05": {"every unit from 100": 0.45}}}
    drawn = plot({"cells": [cell, {"cell": "p95", "worst": 0.001, "peers": {}}]})
    assert drawn.count("<rect") == 4  # with the ground
    assert "a &lt; b" in drawn
    assert "45.0%" in drawn
