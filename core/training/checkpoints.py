"""The folder of one training job: its checkpoints, the trained adapter, its evaluation. What is there is whole.

    <jobs_dir>/<job id>/
        run.json             what the checkpoints belong to: spec, data, base, libraries
        checkpoint-<step>/   adapter, optimizer, schedule, random states, trainer state
        trained/             the adapter at the end of training
        evaluation.json      base and adapter on the held-out rows

Lock, fence and log of the job lie beside these; they belong to the worker.
Folders and files appear by one rename when they are complete, so a process killed at any moment leaves either
the whole or nothing. Leftovers of such a moment end in `.part` and are swept away by the next attempt.
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from core.storage.files import write_atomically

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
KEEP = 2


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one job's folder."""

    path: Path

    @property
    def trained(self) -> Path:
        """The adapter at the end of training."""
        return self.path / "trained"

    @property
    def evaluation(self) -> Path:
        """The evaluation as JSON."""
        return self.path / "evaluation.json"

    @property
    def training(self) -> Path:
        """Figures of the training itself as JSON: seconds, steps, tokens, losses."""
        return self.path / "training.json"

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [(int(match[1]), p) for p in self.path.glob("*") if (match := CHECKPOINT.fullmatch(p.name))]
        return [path for _, path in sorted(found)]

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        return self.checkpoints()[-1] if self.checkpoints() else None

    def forget_older(self, keep: int = KEEP) -> None:
        """Delete all checkpoints but the newest `keep`."""
        for old in self.checkpoints()[: -keep or None]:
            remove_folder(old)

    def begin(self, identity: dict[str, Any]) -> None:
        """Sweep leftovers; if the folder belongs to another identity (data, base, spec), start it anew."""
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.glob(".*.part"):
            rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        file = self.path / "run.json"
        text = json.dumps(identity, sort_keys=True, indent=1)
        if file.is_file() and file.read_text("utf-8") == text:
            return
        for old in (*self.checkpoints(), self.trained):
            remove_folder(old)
        for result in (self.evaluation, self.training):
            result.unlink(missing_ok=True)
        write_atomically(file, text.encode())

    def finish(self) -> None:
        """The adapter is registered: keep the log, drop what only a resumed run would need."""
        for folder in (*self.checkpoints(), self.trained):
            remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that a kill halfway never leaves something that looks complete."""
    if not folder.exists():
        return
    doomed = folder.with_name(f".{folder.name}.{time.monotonic_ns()}.part")
    folder.rename(doomed)
    rmtree(doomed)
