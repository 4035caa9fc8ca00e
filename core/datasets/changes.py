"""The verbs that make a new version of a dataset: mend, split, add, and go back to an earlier one."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.datasets import service, store
from core.datasets.builders import BuiltExample
from core.datasets.doctor import Examination, examine
from core.datasets.fixes import Mended, Values, as_lines, mend, new_splits
from core.datasets.formats import read_rows
from core.datasets.records import Dataset, DatasetKind, Fix, Split
from core.datasets.registration import REPLACED, SUPERSEDED, checked_name, register_stored, room_left
from core.datasets.rows import Fault
from core.datasets.split_plan import SplitOutcome, SplitPlan
from core.datasets.uploads import store_upload
from core.datasets.versions import (
    CHANGE,
    PARENT,
    Version,
    VersionDiff,
    describe_fix,
    diff_files,
    list_changes,
    number_versions,
)
from core.errors import InvalidInputError
from core.storage.files import write_atomically

TRAINABLE = (DatasetKind.SFT, DatasetKind.DPO, DatasetKind.KTO)
Place = tuple[Path, int, int | None]  # folder for files, most bytes of one, most bytes of the tenant


def examine_dataset(dataset: Dataset) -> Examination:
    """Score, problems and summary. Raises InvalidInputError for raw files and reference data."""
    _require_trainable_kind(dataset)
    return examine(service.unchanged_file(dataset), name=dataset.name)


def mend_dataset(dataset: Dataset, rule: str) -> Mended:
    """The rows as the fix of a rule would leave them; nothing is stored. Raises InvalidInputError."""
    _require_trainable_kind(dataset)
    return mend(service.unchanged_file(dataset), rule, name=dataset.name)


def store_mended(
    session: Session, tenant_id: str, dataset: Dataset, done: Mended, *, place: Place, now: datetime
) -> Dataset:
    """A new version of the mended rows; what was changed or removed is listed beside its file."""
    preview, rule = done.preview, done.rule
    secret = done.fix is Fix.MASK_PERSONAL_DATA or rule == "secrets"
    change = {
        "kind": "fix",
        "fix": str(done.fix),
        "rule": rule,
        "rows_changed": preview.rows_changed,
        "rows_removed": preview.rows_removed,
        "words": describe_fix(done.fix, rule, preview.rows_changed, preview.rows_removed),
    }
    listed = list_changes(done.touched, secret=secret)
    return _new_version(session, tenant_id, dataset, done.rows, change, place=place, now=now, listed=listed)


def plan_split(dataset: Dataset, plan: SplitPlan) -> SplitOutcome:
    """How a plan would deal out the rows of a dataset. Raises InvalidInputError."""
    _require_trainable_kind(dataset)
    return new_splits(service.unchanged_file(dataset), plan, name=dataset.name)


def store_split(
    session: Session,
    tenant_id: str,
    dataset: Dataset,
    plan: SplitPlan,
    outcome: SplitOutcome,
    *,
    place: Place,
    now: datetime,
) -> Dataset:
    """A new version whose rows are dealt out as planned."""
    path = service.unchanged_file(dataset)
    rows = [row.values for row in read_rows(path, name=dataset.name) if not isinstance(row, Fault)]
    told = ", ".join(f"{split} {rows_of:,}" for split, rows_of in outcome.rows.items())
    change = {"kind": "split", "by": str(plan.by), "seed": plan.seed, "words": f"Split by {plan.by}: {told}"}
    dealt = [_placed(row, split) for row, split in zip(rows, outcome.splits, strict=True)]
    return _new_version(session, tenant_id, dataset, dealt, change, place=place, now=now)


def add_examples(
    session: Session,
    tenant_id: str,
    *,
    name: str,
    adapter_type: str,
    examples: Sequence[BuiltExample],
    place: Place,
    now: datetime,
) -> Dataset:
    """A new set of these examples, or a new version of the set of that name with them at its end.

    Raises InvalidInputError when the set of that name holds something else than prompts and completions.
    """
    if not examples:
        raise InvalidInputError("There is no example to add.", "", "Fill in the form first.")
    added = [example.row() for example in examples]
    known = service.find_by_name(session, tenant_id, name)
    if known is None:
        folder, limit, quota = place
        return service.import_upload(
            session,
            tenant_id,
            file=BytesIO(as_lines(added)),
            name=name,
            adapter_type=adapter_type,
            datasets_dir=folder,
            limit_bytes=limit,
            quota_bytes=quota,
            now=now,
        )
    path = service.unchanged_file(known)
    rows = [row.values for row in read_rows(path, name=name) if not isinstance(row, Fault)]
    if known.kind is not DatasetKind.SFT or any(not {"prompt", "completion"} <= row.keys() for row in rows):
        raise InvalidInputError(
            f"«{name}» holds other rows than prompts with completions.",
            "Examples from a form cannot be added to it.",
            "Choose another name.",
        )
    words = f"{len(added):,} example{'' if len(added) == 1 else 's'} added"
    change = {"kind": "add", "rows_added": len(added), "words": words}
    return _new_version(session, tenant_id, known, [*rows, *added], change, place=place, now=now)


def store_built(
    session: Session,
    tenant_id: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    made_of: dict[str, Any],
    simulated: bool,
    place: Place,
    now: datetime,
) -> Dataset:
    """A retailer's training set made from a raw file; `made_of` is its lineage. It replaces a set of that name."""
    name = checked_name(name)
    folder, limit, quota = place
    room = None if quota is None else room_left(session, tenant_id, folder, quota)
    stored, found = store_upload(
        BytesIO(as_lines([dict(row) for row in rows])),
        folder,
        limit,
        lambda staging: service.inspect_file(staging, name),
        room_bytes=room,
    )
    entries = {
        **service.card_of_file(name, "retailer", stored, found),
        "simulated": simulated,
        "description": f"{made_of['words']}.",
        CHANGE: made_of,
    }
    made = register_stored(session, tenant_id, name, stored, entries=entries, now=now)
    return make_current(session, tenant_id, made)


def list_versions(session: Session, tenant_id: str, dataset: Dataset) -> list[Version]:
    """All versions of that name, newest first."""
    known = store.list_all(session, tenant_id, name=dataset.name)
    return number_versions([each for each in known if SUPERSEDED not in each.card])


def make_current(session: Session, tenant_id: str, dataset: Dataset) -> Dataset:
    """That version is the current one again; no version is lost."""
    for other in store.list_all(session, tenant_id, name=dataset.name):
        card = {key: value for key, value in other.card.items() if key != REPLACED}
        if other.id != dataset.id:
            card[REPLACED] = dataset.id
        if card != other.card:
            store.rewrite(session, tenant_id, other.id, card=card)
    return service.get(session, tenant_id, dataset.id)


def diff_versions(old: Dataset, new: Dataset) -> VersionDiff:
    """What became of the rows of `old` in `new`. Raises IntegrityError when a file has changed."""
    return diff_files(
        service.unchanged_file(old), service.unchanged_file(new), old_name=old.name, new_name=new.name
    )


def _placed(row: Values, split: Split) -> Values:
    """The row in its new split. A slice names what a test row measures; elsewhere it means nothing."""
    kept = {key: value for key, value in row.items() if key != "slice" or split is Split.TEST}
    return kept | {"split": str(split)}


def _new_version(
    session: Session,
    tenant_id: str,
    parent: Dataset,
    rows: Sequence[Values],
    change: dict[str, Any],
    *,
    place: Place,
    now: datetime,
    listed: bytes = b"",
) -> Dataset:
    folder, limit, quota = place
    room = None if quota is None else room_left(session, tenant_id, folder, quota)
    stored, found = store_upload(
        BytesIO(as_lines(rows)),
        folder,
        limit,
        lambda staging: service.inspect_file(staging, parent.name),
        room_bytes=room,
    )
    if stored.digest == parent.digest:
        raise InvalidInputError(
            "Nothing would change.", "The rows are already as asked.", "Choose something else."
        )
    if listed:
        beside = folder / f"{stored.digest}.changes.jsonl"
        write_atomically(beside, listed)
        change = {**change, "listed_in": beside.name}
    entries = {
        **service.card_of_file(parent.name, parent.adapter_type, stored, found),
        "title": parent.title,
        "description": parent.description,
        "simulated": parent.simulated,
        "split_by": "split column",
        PARENT: parent.id,
        CHANGE: json.loads(json.dumps(change)),
    }
    made = register_stored(session, tenant_id, parent.name, stored, entries=entries, now=now)
    return make_current(session, tenant_id, made)


def _require_trainable_kind(dataset: Dataset) -> None:
    if dataset.kind not in TRAINABLE:
        raise InvalidInputError(
            f"«{dataset.name}» holds no training examples.",
            f"It is a set of {dataset.kind}.",
            "Choose a training set.",
        )
