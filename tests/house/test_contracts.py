"""The floors hold, and each contract really catches what it is for."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINTER = Path(sys.executable).parent / "lint-imports"

# contract id, file to write or to append to, the line that must not be there
VIOLATIONS = [
    ("floors", "core/jobs/service.py", "import core.training.records"),
    ("floors", "core/registry/service.py", "import core.datasets.records"),
    ("floors", "core/warehouse/__init__.py", '"""A package that nobody gave a floor."""'),
    ("edges", "core/serve/records.py", "import app.access"),
    ("acyclic", "core/serve/records.py", "import core.serve.runtime"),
    ("no-web-in-core", "core/datasets/service.py", "import streamlit"),
    ("no-web-in-core", "core/serve/runtime.py", "import fastapi"),
    ("torch-at-home", "core/compose/service.py", "import torch"),
    ("torch-at-home", "app/bootstrap.py", "import transformers"),
    ("torch-at-home", "pages/overview.py", "import peft"),
    ("tables-from-stores", "core/jobs/service.py", "import core.storage.tables.jobs"),
    ("tables-from-stores", "app/bootstrap.py", "from core.storage.tables import JobRow"),
    ("edges-through-services", "pages/jobs.py", "import core.jobs.store"),
    ("edges-through-services", "app/api/training.py", "import core.jobs.store"),
    ("edges-through-services", "app/actions/training.py", "from core.storage import tables"),
]


@pytest.fixture(scope="module")
def copy_of_the_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, to plant violations in."""
    place = tmp_path_factory.mktemp("house")
    for name in ("app", "core", "pages"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


@pytest.fixture
def plant(copy_of_the_house: Path) -> Iterator[object]:
    """Appends a line to a file for one test and takes it back afterwards."""
    undo: list[tuple[Path, bytes | None]] = []

    def write(name: str, line: str) -> Path:
        path = copy_of_the_house / name
        undo.append((path, path.read_bytes() if path.exists() else None))
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(f"\n{line}\n")
        return copy_of_the_house

    yield write
    for path, before in undo:
        if before is None:
            shutil.rmtree(path.parent) if path.name == "__init__.py" else path.unlink()
        else:
            path.write_bytes(before)


def check_contracts(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter in `place`; the cache is shared by the runs of one test session."""
    return subprocess.run(
        [str(LINTER), "--no-logo", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_all_contracts_hold() -> None:
    result = check_contracts(ROOT, "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS, ids=[f"{v[0]}:{v[1]}" for v in VIOLATIONS])
def test_a_planted_violation_is_caught(plant, contract: str, file: str, line: str) -> None:
    place = plant(file, line)
    assert contract in (place / "pyproject.toml").read_text()
    result = check_contracts(place, "--contract", contract)
    assert result.returncode != 0, f"{line} in {file} went unnoticed:\n{result.stdout}"
    assert (
        "BROKEN" in result.stdout
        or "is not listed" in result.stdout + result.stderr
        or "exhaustive" in (result.stdout + result.stderr)
    ), result.stdout + result.stderr
