"""The dataset library: list, look into, check, import."""

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from app.bootstrap import Console
from app.pseudonyms import key_for
from core.datasets import changes, raw
from core.datasets import service as datasets
from core.datasets.builders import BuiltExample
from core.datasets.exports import ExportFormat, ExportLayout, convert_file
from core.datasets.fixes import FixPreview
from core.datasets.from_mapping import SetPlan, build_rows
from core.datasets.records import Dataset, DatasetKind, Problem
from core.datasets.registration import room_left
from core.datasets.split_plan import SplitOutcome, SplitPlan
from core.datasets.versions import Version, VersionDiff
from core.errors import IntegrityError, NotFoundError
from core.harmonize import service as mappings
from core.harmonize.mapping_files import card_of
from core.harmonize.records import SourceCard
from core.registry.records import AdapterType
from core.storage.files import sha256_of
from core.tenants import audit
from core.tenants.records import Permission, Principal


def list_datasets(c: Console, p: Principal, kind: DatasetKind | None = None) -> list[Dataset]:
    """Newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return datasets.list_datasets(s, p.tenant_id, kind=kind)


def get_dataset(c: Console, p: Principal, dataset_id: str) -> Dataset:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return datasets.get(s, p.tenant_id, dataset_id)


def find_dataset(c: Console, p: Principal, name_or_id: str) -> Dataset:
    """By id, or the newest of that name. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        found = datasets.find_by_name(s, p.tenant_id, name_or_id)
        if found is not None:
            return found
        try:
            return datasets.get(s, p.tenant_id, name_or_id)
        except NotFoundError:
            raise NotFoundError(
                f"There is no dataset «{name_or_id[:200]}».",
                "Nothing here has this id or name.",
                "List the datasets.",
            ) from None


def preview(c: Console, p: Principal, dataset_id: str, limit: int) -> list[dict[str, Any]]:
    """The first rows by column, at most 1,000. Values are untrusted text."""
    return datasets.preview_rows(get_dataset(c, p, dataset_id), limit)


def check(c: Console, p: Principal, dataset_id: str) -> list[Problem]:
    """What is wrong with it, errors first. Raises IntegrityError when its file has changed."""
    return datasets.check_dataset(get_dataset(c, p, dataset_id))


def import_dataset(
    c: Console, p: Principal, file: BinaryIO, name: str, adapter_type: AdapterType | None = None
) -> Dataset:
    """Store an uploaded training file and register it. Raises InvalidInputError with the lines that are wrong."""
    p.require(Permission.TRAIN)
    now = c.clock()
    with c.database.transaction() as s:
        dataset = datasets.import_upload(
            s,
            p.tenant_id,
            file=file,
            name=name,
            adapter_type=None if adapter_type is None else AdapterType(adapter_type).value,
            datasets_dir=c.settings.datasets_dir,
            limit_bytes=c.settings.upload_limit_mb << 20,
            quota_bytes=c.settings.upload_quota_mb << 20,
            now=now,
        )
        _note_import(s, p, dataset, now)
    return dataset


def import_raw(
    c: Console, p: Principal, file: BinaryIO, name: str, card: SourceCard | None = None
) -> Dataset:
    """Store a retailer's raw export and register it; broken rows are counted, not refused.

    Raises RefusedFileError, InvalidInputError, QuotaExceededError when the workspace has no room for it.
    """
    p.require(Permission.TRAIN)
    quota = c.settings.upload_quota_mb << 20
    folder = c.settings.datasets_dir
    with c.database.reading() as s:
        room = room_left(s, p.tenant_id, folder, quota)
    stored = raw.store_raw(
        file,
        name=name,
        card=card,
        datasets_dir=folder,
        limit_bytes=c.settings.upload_limit_mb << 20,
        room_bytes=max(0, room),
    )
    now = c.clock()
    with c.database.transaction() as s:
        dataset = raw.register_raw(s, p.tenant_id, stored, datasets_dir=folder, quota_bytes=quota, now=now)
        _note_import(s, p, dataset, now)
    return dataset


def _note_import(s: Session, p: Principal, dataset: Dataset, now: datetime) -> None:
    audit.append(
        s,
        tenant_id=p.tenant_id,
        actor=p.actor,
        action="dataset.imported",
        subject=dataset.id,
        detail={"name": dataset.name, "digest": dataset.digest, "rows": dataset.rows},
        now=now,
    )


def preview_fix(c: Console, p: Principal, dataset_id: str, rule: str) -> FixPreview:
    """What the fix of a rule would change. Raises InvalidInputError."""
    return changes.mend_dataset(get_dataset(c, p, dataset_id), rule).preview


def apply_fix(c: Console, p: Principal, dataset_id: str, rule: str) -> Dataset:
    """Mend what a rule found: the new version, which is the current one from now on."""
    p.require(Permission.TRAIN)
    dataset = get_dataset(c, p, dataset_id)
    done = changes.mend_dataset(dataset, rule)
    return _changed(
        c,
        p,
        "dataset.mended",
        lambda s, now: changes.store_mended(s, p.tenant_id, dataset, done, place=_place(c), now=now),
    )


def split_dataset(c: Console, p: Principal, dataset_id: str, plan: SplitPlan) -> tuple[Dataset, SplitOutcome]:
    """Deal the rows out anew: the new version, and what came of it. Raises InvalidInputError."""
    p.require(Permission.TRAIN)
    dataset = get_dataset(c, p, dataset_id)
    outcome = changes.plan_split(dataset, plan)
    made = _changed(
        c,
        p,
        "dataset.split",
        lambda s, now: changes.store_split(s, p.tenant_id, dataset, plan, outcome, place=_place(c), now=now),
    )
    return made, outcome


def add_examples(
    c: Console, p: Principal, name: str, adapter_type: AdapterType | str, examples: Sequence[BuiltExample]
) -> Dataset:
    """Put examples from a form into the set of that name, or begin it. Raises InvalidInputError."""
    p.require(Permission.TRAIN)
    return _changed(
        c,
        p,
        "dataset.examples_added",
        lambda s, now: changes.add_examples(
            s,
            p.tenant_id,
            name=name,
            adapter_type=AdapterType(adapter_type).value,
            examples=examples,
            place=_place(c),
            now=now,
        ),
    )


def list_versions(c: Console, p: Principal, dataset_id: str) -> list[Version]:
    """All versions of the set, newest first."""
    dataset = get_dataset(c, p, dataset_id)
    with c.database.reading() as s:
        return changes.list_versions(s, p.tenant_id, dataset)


def make_current(c: Console, p: Principal, dataset_id: str) -> Dataset:
    """Undo: that version is the current one again."""
    p.require(Permission.TRAIN)
    dataset = get_dataset(c, p, dataset_id)
    return _changed(c, p, "dataset.made_current", lambda s, _: changes.make_current(s, p.tenant_id, dataset))


def diff_versions(c: Console, p: Principal, old_id: str, new_id: str) -> VersionDiff:
    """Rows added, removed, changed and kept between two versions."""
    return changes.diff_versions(get_dataset(c, p, old_id), get_dataset(c, p, new_id))


def export_as(
    c: Console,
    p: Principal,
    dataset_id: str,
    layout: ExportLayout,
    file_format: ExportFormat,
    target: Path,
) -> Path:
    """Write a training set in another layout and format to `target`. Raises InvalidInputError."""
    dataset = get_dataset(c, p, dataset_id)
    convert_file(datasets.unchanged_file(dataset), layout, file_format, target, name=dataset.name)
    return target


def build_from_mapping(
    c: Console, p: Principal, *, dataset: str, mapping: str, name: str, plan: SetPlan = SetPlan()
) -> Dataset:
    """«Make training set from mapping»: a retailer's examples from a raw export, as a new set.

    `dataset`: id or name; `mapping`: id, name or name@version. Raises NotFoundError, InvalidInputError.
    """
    p.require(Permission.TRAIN)
    source_set = find_dataset(c, p, dataset)
    with c.database.reading() as s:
        version = mappings.resolve(s, p.tenant_id, mapping)
    card = raw.source_card_of(source_set)
    key = key_for(version.mapping, c.settings.home)
    with raw.open_raw(source_set) as source:
        rows = build_rows(source, version.mapping, card_of(version.mapping, card), plan, pseudonym_key=key)
    made_of = {
        "kind": "built",
        "raw": source_set.id,
        "raw_digest": source_set.digest,
        "mapping": version.label,
        "mapping_digest": version.digest,
        "words": f"Made from {source_set.name} with {version.label}",
    }
    return _changed(
        c,
        p,
        "dataset.built",
        lambda s, now: changes.store_built(
            s,
            p.tenant_id,
            rows,
            name=name,
            made_of=made_of,
            simulated=source_set.simulated,
            place=_place(c),
            now=now,
        ),
    )


def _place(c: Console) -> changes.Place:
    return c.settings.datasets_dir, c.settings.upload_limit_mb << 20, c.settings.upload_quota_mb << 20


def _changed(
    c: Console, p: Principal, action: str, change: Callable[[Session, datetime], Dataset]
) -> Dataset:
    now = c.clock()
    with c.database.transaction() as s:
        made = change(s, now)
        detail = {"name": made.name, "digest": made.digest, "rows": made.rows}
        audit.append(
            s, tenant_id=p.tenant_id, actor=p.actor, action=action, subject=made.id, detail=detail, now=now
        )
    return made


def export_dataset(c: Console, p: Principal, dataset_id: str, target: Path) -> Path:
    """Copy its file to `target`, a folder or a file. Raises IntegrityError when it has changed since it was registered."""
    dataset = get_dataset(c, p, dataset_id)
    source = datasets.dataset_path(dataset)
    if not source.is_file() or sha256_of(source) != dataset.digest:
        raise IntegrityError(
            f"The file of «{dataset.name}» is missing or has changed since it was registered.",
            "Its content is not what it was.",
            "Restore it, or import it again.",
        )
    if target.is_dir():
        endings = source.suffixes[-2:] if source.suffix == ".gz" else [source.suffix]
        target = target / f"{dataset.name}{''.join(endings)}"
    shutil.copyfile(source, target)
    return target
