"""federation export, as a person and as a program use it."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from safetensors.numpy import load_file

from app.__main__ import main
from core.settings import PROJECT_ROOT
from core.storage.digests import digest_base_folder

Run = Callable[..., Any]
BASE = PROJECT_ROOT / "models" / "base" / "rmn-tiny-llama"


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    return home


@pytest.fixture
def run(
    module_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    monkeypatch.setenv("RMN_HOME", str(module_home))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run_one(*arguments: str, status: int = 0, text: bool = False) -> Any:
        capsys.readouterr()
        found = main([*arguments, *([] if text else ["--json"])])
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        return out if text else json.loads(out or err)

    run_one("federation", "save", "mix", "--adapter", "task_planning:0.7", "--adapter", "retailer_beta:0.5")
    yield run_one
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_federation_is_exported_with_what_is_lost(run: Run, tmp_path: Path) -> None:
    exact = run("federation", "export", "mix", "--method", "cat", "--out", str(tmp_path / "cat"))
    assert (exact["kind"], exact["rank"], exact["residual"], exact["lost_share"]) == ("adapter", 32, 0, 0)
    small = ("--method", "compress", "--rank", "8", "--out", str(tmp_path / "small"))
    lossy = run("federation", "export", "mix", *small)
    assert lossy["rank"] == 8
    assert 0 < lossy["lost_share"] < 1
    assert len(load_file(tmp_path / "small" / "adapter_model.safetensors")) == 2 * 7 * 4
    assert run("federation", "export", "mix", *small)["key"] == lossy["key"] != exact["key"]
    text = run(
        "federation",
        "export",
        "mix",
        "--method",
        "ties",
        "--rank",
        "8",
        "--out",
        str(tmp_path / "t"),
        text=True,
    )
    assert "lost_share" in text
    assert "0.2" in text


def test_a_merged_federation_is_a_whole_model_and_the_base_stays(run: Run, tmp_path: Path) -> None:
    before = digest_base_folder(BASE)
    made = run("federation", "export", "mix", "--method", "merged", "--out", str(tmp_path / "whole"))
    assert made["kind"] == "model"
    assert made["digest"] == digest_base_folder(tmp_path / "whole") != before == digest_base_folder(BASE)


def test_what_cannot_be_exported_is_refused_and_nothing_is_replaced(run: Run, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        return str(run("federation", "export", *arguments, "--out", str(tmp_path / "out"), status=1))

    assert "needs a rank" in refused("mix", "--method", "compress")
    assert "no federation" in refused("nobody", "--method", "cat")
    run("federation", "export", "mix", "--method", "cat", "--out", str(tmp_path / "out"))
    assert "there already" in refused("mix", "--method", "compress", "--rank", "2")
    assert run("federation", "export", "mix", "--method", "linear", "--out", "x", status=2, text=True) == ""
