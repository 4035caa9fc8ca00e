"""`python -m app infer` with compositions of every method."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.__main__ import main

ASK = ("infer", "--prompt", "Plan a campaign for sparkling water.", "--max-new-tokens", "2")
TERMS = [{"adapter": "random", "layers": [0, 1]}, {"adapter": "random", "weight": 0.5, "layers": [2, 3]}]
TOKEN = {"method": "gated", "gate": {"kind": "token"}, "terms": TERMS}
PIPELINE = {
    "method": "sequential",
    "stages": [
        {"name": "one", "composition": {"terms": [{"adapter": "random"}]}, "max_new_tokens": 2},
        {"name": "two", "composition": {}, "prompt": "{one} {input}"},
    ],
}


@pytest.fixture
def home(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, adapter_zip: bytes
) -> Iterator[Path]:
    """A migrated home with one adapter in it; the log is given back as it was."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    monkeypatch.setenv("RMN_HOME", str(home))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    package = tmp_path / "a.zip"
    package.write_bytes(adapter_zip)
    assert main(["adapters", "import", str(package), "--name", "random", "--type", "task", "--json"]) == 0
    yield home
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_composition_of_any_method_is_asked_from_a_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "composition.json"
    file.write_text(json.dumps(TOKEN))
    capsys.readouterr()
    assert main([*ASK, "--composition", str(file), "--logprobs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(a["weight"], a["layers"]) for a in told["adapters"]] == [(1.0, [0, 1]), (0.5, [2, 3])]
    assert len(told["logprobs"]) == told["completion_tokens"]
    file.write_text(json.dumps(PIPELINE))
    assert main([*ASK, "--composition", str(file)]) == 0
    remarks = capsys.readouterr().err
    assert "[stage 1, one: 1·random v1; " in remarks
    assert "[stage 2, two: no adapter; " in remarks


def test_a_composition_that_cannot_be_read_is_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "composition.json"
    file.write_text('{"method": "sequential"}')
    capsys.readouterr()
    assert main([*ASK, "--composition", str(file), "--json"]) == 1
    assert "has stages" in json.loads(capsys.readouterr().out)["error"]["why"]
    assert main([*ASK, "--composition", str(tmp_path / "none"), "--json"]) == 1
    assert main([*ASK, "--composition", str(file), "--adapter", "random"]) == 2
