"""The types of the product are whole. In a file of its own: the first time, without a cache, it takes longest of all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_mypy_strict_finds_nothing() -> None:
    mypy = Path(sys.executable).parent / "mypy"
    result = subprocess.run([mypy], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
