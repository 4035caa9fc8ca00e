"""What the dataset screens read more than once: examinations, previews of fixes and differences, kept by content."""

from collections import OrderedDict
from threading import Lock

import streamlit as st

from app.actions import datasets, examinations
from app.ui.visit import Visit
from core.datasets.doctor import Examination
from core.datasets.fixes import FixPreview
from core.datasets.lengths import Lengths
from core.datasets.records import Dataset, DatasetKind
from core.datasets.scores import Verdict
from core.datasets.versions import VersionDiff

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


def known_score(visit: Visit, dataset: Dataset) -> Verdict | None:
    """What is known of how good a set's content is, also from before a restart. Reads one small file at most."""
    if not examinable(dataset):
        return None
    seen = known_examination(dataset)
    if seen is not None:
        return Verdict(seen.score, seen.band, seen.trainable)
    return examinations.known_score(visit.console, dataset)


def examined(visit: Visit, dataset: Dataset) -> Examination:
    """The examination of a set, made now where it is not known. Raises as `examinations.examine_dataset`."""
    found = known_examination(dataset)
    if found is None:
        with st.spinner("Examining every row"):
            found = examinations.examine_dataset(visit.console, visit.principal, dataset.id)
        _examined().keep(dataset.digest, found)
    return found


def previewed_fix(visit: Visit, dataset: Dataset, rule: str) -> FixPreview:
    """What the fix of a rule would do. Raises InvalidInputError."""
    return _preview(dataset.id, dataset.digest, rule, visit)


def compared(visit: Visit, old: Dataset, new: Dataset) -> VersionDiff:
    """What became of the rows of one version in another. Raises IntegrityError."""
    return _diff(old.id, old.digest, new.id, new.digest, visit)


def token_lengths(visit: Visit, dataset: Dataset, limit: int) -> Lengths | None:
    """Lengths in tokens of the configured base; None without that base. Raises as `examinations.measure_lengths`."""
    return _tokens(dataset.id, dataset.digest, visit.console.settings.base_model, limit, visit)


@st.cache_resource(max_entries=16, show_spinner="Counting tokens")
def _tokens(dataset_id: str, digest: str, base: str, limit: int, _visit: Visit) -> Lengths | None:
    del digest, base  # they are what the cache tells contents apart by
    return examinations.measure_lengths(_visit.console, _visit.principal, dataset_id, limit)


@st.cache_resource(max_entries=8, show_spinner="Looking what would change")
def _preview(dataset_id: str, digest: str, rule: str, _visit: Visit) -> FixPreview:
    del digest  # it is what the cache tells contents apart by
    return datasets.preview_fix(_visit.console, _visit.principal, dataset_id, rule)


@st.cache_resource(max_entries=16, show_spinner="Comparing the versions")
def _diff(old_id: str, old_digest: str, new_id: str, new_digest: str, _visit: Visit) -> VersionDiff:
    del old_digest, new_digest
    return datasets.diff_versions(_visit.console, _visit.principal, old_id, new_id)
