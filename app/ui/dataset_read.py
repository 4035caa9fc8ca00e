"""What the dataset screens read more than once: examinations, previews of fixes and differences, kept by content."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import streamlit as st

from app.actions import datasets
from app.ui.visit import Visit
from core.datasets.doctor import Examination, examine
from core.datasets.fixes import FixPreview
from core.datasets.lengths import Lengths
from core.datasets.records import Dataset, DatasetKind
from core.datasets.service import unchanged_file
from core.datasets.versions import VersionDiff
from core.registry.bases import base_folder
from core.settings import PROJECT_ROOT
from core.training.prompts import TokenCounter

EXAMINABLE = (DatasetKind.SFT, DatasetKind.DPO, DatasetKind.KTO)
MOST_KEPT = 64


class Examined:
    """The examinations of this process by digest of the file; the least used one goes first."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[str, Examination] = OrderedDict()
        self._lock = Lock()

    def find(self, digest: str) -> Examination | None:
        """The examination of a file with that digest, if it was made."""
        with self._lock:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
            return found

    def keep(self, digest: str, examination: Examination) -> None:
        """Remember it."""
        with self._lock:
            self._kept[digest] = examination
            self._kept.move_to_end(digest)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


@st.cache_resource(show_spinner=False)
def _examined() -> Examined:
    return Examined()


def examinable(dataset: Dataset) -> bool:
    """Whether the doctor can say something about it: it holds examples, pairs or judgements."""
    return dataset.kind in EXAMINABLE


def known_examination(dataset: Dataset) -> Examination | None:
    """What is already known about a set's content. Reads no file."""
    return _examined().find(dataset.digest) if examinable(dataset) else None


def examined(visit: Visit, dataset: Dataset) -> Examination:
    """The examination of a set, made now where it is not known. Raises as `datasets.examine_dataset`."""
    found = known_examination(dataset)
    if found is None:
        with st.spinner("Examining every row"):
            found = datasets.examine_dataset(visit.console, visit.principal, dataset.id)
        _examined().keep(dataset.digest, found)
    return found


def previewed_fix(visit: Visit, dataset: Dataset, rule: str) -> FixPreview:
    """What the fix of a rule would do. Raises InvalidInputError."""
    return _preview(dataset.id, dataset.digest, rule, visit)


def compared(visit: Visit, old: Dataset, new: Dataset) -> VersionDiff:
    """What became of the rows of one version in another. Raises IntegrityError."""
    return _diff(old.id, old.digest, new.id, new.digest, visit)


def base_folder_here(visit: Visit) -> Path | None:
    """Where the configured base lies, or None when it is not on this machine. Raises NotFoundError."""
    folder = base_folder(visit.console.settings.base_model, PROJECT_ROOT / "models")
    return folder if isinstance(folder, Path) else None


def token_lengths(visit: Visit, dataset: Dataset, limit: int) -> Lengths | None:
    """Lengths as the configured base counts them, chat template included; None without that base.

    Raises RefusedFileError when the base has no tokenizer or template, IntegrityError when the file has changed.
    """
    folder = base_folder_here(visit)
    return None if folder is None else _tokens(dataset.digest, str(folder), limit, dataset)


@st.cache_resource(max_entries=16, show_spinner="Counting tokens")
def _tokens(digest: str, folder: str, limit: int, _dataset: Dataset) -> Lengths | None:
    del digest  # it is what the cache tells contents apart by
    counter = TokenCounter(Path(folder))
    seen = examine(
        unchanged_file(_dataset),
        name=_dataset.name,
        count_tokens=lambda examples: [whole for whole, _ in counter.lengths(examples)],
        max_tokens=limit,
    )
    return seen.summary.tokens


@st.cache_resource(max_entries=8, show_spinner="Looking what would change")
def _preview(dataset_id: str, digest: str, rule: str, _visit: Visit) -> FixPreview:
    del digest  # it is what the cache tells contents apart by
    return datasets.preview_fix(_visit.console, _visit.principal, dataset_id, rule)


@st.cache_resource(max_entries=16, show_spinner="Comparing the versions")
def _diff(old_id: str, old_digest: str, new_id: str, new_digest: str, _visit: Visit) -> VersionDiff:
    del old_digest, new_digest
    return datasets.diff_versions(_visit.console, _visit.principal, old_id, new_id)
