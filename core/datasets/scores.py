"""Scores of contents that were examined, kept as small files, so that a restart does not forget them."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.datasets.score import EDITION, Band
from core.storage.files import write_atomically


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an examination came to. `trainable`: no error was found."""

    score: float
    band: Band
    trainable: bool


def keep(folder: Path, digest: str, verdict: Verdict) -> None:
    """Remember the verdict on a file with that SHA-256. A disk that refuses costs another examination, no more."""
    told = {
        "edition": EDITION,
        "score": verdict.score,
        "band": str(verdict.band),
        "trainable": verdict.trainable,
    }
    with suppress(OSError):
        write_atomically(folder / f"{digest}.json", json.dumps(told).encode())


def find(folder: Path, digest: str) -> Verdict | None:
    """The verdict on a file with that SHA-256 by today's rules; None where there is none, or an older one."""
    try:
        told = json.loads((folder / f"{digest}.json").read_text("utf-8"))
        if told["edition"] != EDITION:
            return None
        return Verdict(float(told["score"]), Band(told["band"]), bool(told["trainable"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
