"""What the dataset doctor says of sets in the library, and the scores that are kept of it."""

from pathlib import Path

from app.actions.datasets import get_dataset
from app.bootstrap import Console
from core.datasets import changes, scores
from core.datasets import service as datasets
from core.datasets.doctor import Examination, examine
from core.datasets.lengths import Lengths
from core.datasets.records import Dataset
from core.datasets.scores import Verdict
from core.registry.bases import base_folder
from core.settings import PROJECT_ROOT
from core.tenants.records import Principal
from core.training.prompts import TokenCounter

SCORES = "scores"


def examine_dataset(c: Console, p: Principal, dataset_id: str) -> Examination:
    """Score, problems and summary of a training set; the score is kept. Raises InvalidInputError for other sets."""
    dataset = get_dataset(c, p, dataset_id)
    seen = changes.examine_dataset(dataset)
    scores.keep(c.settings.home / SCORES, dataset.digest, Verdict(seen.score, seen.band, seen.trainable))
    return seen


def known_score(c: Console, dataset: Dataset) -> Verdict | None:
    """The score of a set whose content was examined before, also by a console that has ended since."""
    return scores.find(c.settings.home / SCORES, dataset.digest)


def measure_lengths(c: Console, p: Principal, dataset_id: str, limit: int) -> Lengths | None:
    """Lengths as the configured base counts them, chat template included; None without that base on this machine.

    Raises RefusedFileError when the base has no tokenizer or template, IntegrityError when the file has changed.
    """
    dataset = get_dataset(c, p, dataset_id)
    folder = base_here(c)
    if folder is None:
        return None
    counter = TokenCounter(folder)
    seen = examine(
        datasets.unchanged_file(dataset),
        name=dataset.name,
        count_tokens=lambda examples: [whole for whole, _ in counter.lengths(examples)],
        max_tokens=limit,
    )
    return seen.summary.tokens


def base_here(c: Console) -> Path | None:
    """Where the configured base lies, or None when it is not on this machine. Raises NotFoundError."""
    folder = base_folder(c.settings.base_model, PROJECT_ROOT / "models")
    return folder if isinstance(folder, Path) else None
