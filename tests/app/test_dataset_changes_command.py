"""`dataset versions | fix | split | undo | diff | convert | build` from the command line, one after the other."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from app.__main__ import main
from core.demo.retailers import RETAILER_ALPHA, transform_of

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "home"))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def told(*arguments: str, status: int = 0) -> Any:
        assert main([*arguments, "--json"]) == status, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    yield told
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_set_is_mended_split_compared_and_brought_back(run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": f"Add {n * 31}", "completion": str(n * 31 + 1)} for n in range(200)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[7]]))
    first = run("dataset", "import", str(file), "--type", "task")
    preview = run("dataset", "fix", "sums", "--rule", "duplicate_rows", "--preview")
    assert (preview["rows_removed"], preview["rows_changed"]) == (1, 0)
    mended = run("dataset", "fix", "sums", "--rule", "duplicate_rows")
    assert mended["rows"] == 200
    assert run("dataset", "diff", first["id"], mended["id"], status=1)["removed"] == 1
    split = run("dataset", "split", "sums", "--train", "0.5", "--validation", "0.25", "--test", "0.25")
    assert split["splits"] == {"train": 100, "validation": 50, "test": 50}
    versions = run("dataset", "versions", "sums")
    assert [(v["version"], v["current"]) for v in versions] == [(3, True), (2, False), (1, False)]
    assert run("dataset", "undo", "sums", "--version", "1")["id"] == first["id"]
    assert run("dataset", "undo", "sums", "--version", "9", status=1)["error"]["code"] == "invalid_input"


def test_a_bare_file_is_converted(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "a.jsonl", tmp_path / "b.json"
    file.write_text('{"instruction": "Say hi", "output": "Hi"}\n')
    told = run("dataset", "convert", str(file), "--to", "messages", "--out", str(out))
    assert told["rows"] == 1
    assert [m["content"] for m in json.loads(out.read_text())[0]["messages"]] == ["Say hi", "Hi"]
    wrong = run(
        "dataset", "convert", str(file), "--to", "messages", "--out", str(tmp_path / "b.doc"), status=1
    )
    assert ".parquet" in wrong["error"]["why"]


def test_a_training_set_is_made_from_a_raw_export_and_a_saved_mapping(run: Run, tmp_path: Path) -> None:
    rules = [
        {
            "source_field": column.name,
            "target": column.target,
            "transform": transform_of(RETAILER_ALPHA, column),
            "qualifiers": dict(column.qualifiers),
        }
        for column in RETAILER_ALPHA.columns
    ]
    file = tmp_path / "alpha.yaml"
    file.write_text(
        yaml.safe_dump(
            {"retailer": "Retailer Alpha", "account_timezone": "UTC", "currency": "USD", "rules": rules}
        )
    )
    run("mapping", "save", str(file), "--name", "alpha", "--activate")
    made = run(
        "dataset", "build", "retailer_alpha_events", "--mapping", "alpha", "--name", "mine", "--records", "60"
    )
    assert made["adapter_type"] == "retailer"
    assert made["simulated"] is True
    checked = run("dataset", "check", "mine")
    assert checked["trainable"] is True
    assert checked["score"] >= 95
    assert run("dataset", "versions", "mine")[0]["change"] == "Made from retailer_alpha_events with alpha@1"


def test_a_raw_export_comes_in_as_it_is_with_its_card_and_can_be_harmonized(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "north.csv"
    file.write_bytes(b"Day,Clicks\n2026-03-01,3\n2026-03-02,4,too,many\n2026-03-03,5\n")
    card = tmp_path / "about.json"
    card.write_text(json.dumps({"retailer": "North Stores", "account_timezone": "Europe/Oslo"}))
    assert main(["dataset", "import", str(file), "--card", str(card)]) == 2
    made = run("dataset", "import", str(file), "--raw", "--card", str(card))
    assert (made["kind"], made["rows"], made["broken_rows"]) == ("events", 2, 1)
    assert run("dataset", "list", "--kind", "events")[0]["id"] == made["id"]
    target = tmp_path / "again.csv"
    run("dataset", "export", "north", "--to", str(target))
    assert target.read_bytes() == file.read_bytes()
