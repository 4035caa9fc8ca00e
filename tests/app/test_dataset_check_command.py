"""`dataset check` examines a file wherever it lies, with no workspace, and says what it costs."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.__main__ import main


def rows(count: int) -> str:
    splits = ["train"] * 7 + ["validation"] + ["test"] * 2
    made = (
        {"prompt": f"Add {n * 31}", "completion": str(n * 31 + 1), "split": splits[n % 10]}
        for n in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in made)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with no workspace in it; the log is given back as it was."""
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "home"))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_file_is_scored_without_a_workspace(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "set.jsonl"
    file.write_text(rows(200))
    assert main(["dataset", "check", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["score"], told["band"], told["trainable"], told["problems"]) == (
        100.0,
        "excellent",
        True,
        [],
    )
    assert told["summary"]["layout"] == "prompt_completion"
    assert told["summary"]["tokens"]["p50"] > 5
    assert not (home / "home").exists()


def test_an_error_is_exit_status_1_and_people_read_where_the_points_went(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "set.jsonl"
    file.write_text(rows(200) + '{"prompt": "cut\n')
    assert main(["dataset", "check", str(file)]) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        "set.jsonl: 98.5 of 100, excellent. JSONL, 200 rows (train 140, test 40, validation 20)."
    )
    assert "parse_error" in told
    assert "-1.48  parse_error (1 row)" in told


def test_rows_over_the_limit_of_tokens_are_errors(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "set.jsonl"
    file.write_text(
        rows(200) + json.dumps({"prompt": "kettle " * 400, "completion": "x", "split": "train"}) + "\n"
    )
    assert main(["dataset", "check", str(file), "--max-tokens", "200", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [p["lines"] for p in told["problems"] if p["rule"] == "too_long_tokens"] == [[201]]
    assert told["summary"]["tokens"]["share_cut"] == pytest.approx(1 / 201)


def test_a_file_that_holds_no_examples_is_refused_in_plain_words(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "set.jsonl"
    file.write_text('{"question": 1}\n')
    assert main(["dataset", "check", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["why"] == "Columns found: question."
