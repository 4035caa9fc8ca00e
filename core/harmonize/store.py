"""All SQL of saved mappings and harmonized runs."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.harmonize.records import Mapping, MappingState
from core.harmonize.saved import HarmonizedRun, MappingVersion, SavedMapping
from core.storage.tables import HarmonizedRunRow, MappingRow, MappingVersionRow


def insert_mapping(
    s: Session, mapping_id: str, tenant_id: str, name: str, mapping: Mapping, now: datetime
) -> None:
    """Add a mapping without versions, unless the name is there; the transaction stays usable."""
    row = MappingRow(
        id=mapping_id,
        tenant_id=tenant_id,
        name=name,
        retailer=mapping.retailer,
        network=mapping.network,
        report=mapping.report,
        created_at=now,
    )
    try:
        with s.begin_nested():
            s.add(row)
    except IntegrityError:
        if id_by_name(s, tenant_id, name) is None:
            raise


def id_by_name(s: Session, tenant_id: str, name: str) -> str | None:
    query = select(MappingRow.id, MappingRow.name).where(
        MappingRow.tenant_id == tenant_id, MappingRow.name == name
    )
    return next((row.id for row in s.execute(query) if row.name == name), None)


def lock_mapping(s: Session, tenant_id: str, mapping_id: str) -> bool:
    """Let nobody else change this mapping until the transaction ends. False when there is none."""
    query = select(MappingRow.id).where(MappingRow.tenant_id == tenant_id, MappingRow.id == mapping_id)
    return s.scalar(query.with_for_update()) is not None


def describe_mapping(s: Session, tenant_id: str, mapping_id: str, mapping: Mapping) -> None:
    """Say of a mapping what its newest version says."""
    s.execute(
        update(MappingRow)
        .where(MappingRow.tenant_id == tenant_id, MappingRow.id == mapping_id)
        .values(retailer=mapping.retailer, network=mapping.network, report=mapping.report)
    )


def list_mappings(s: Session, tenant_id: str, *, mapping_id: str | None = None) -> list[SavedMapping]:
    """Newest first, each with its newest version, its active one and the coverage of its newest run."""
    active = case((MappingVersionRow.state == MappingState.ACTIVE.value, MappingVersionRow.version))
    numbers = (
        select(
            MappingVersionRow.mapping_id,
            func.max(MappingVersionRow.version).label("latest"),
            func.max(active).label("active"),
        )
        .where(MappingVersionRow.tenant_id == tenant_id)
        .group_by(MappingVersionRow.mapping_id)
        .subquery()
    )
    query = (
        select(MappingRow, numbers.c.latest, numbers.c.active)
        .join(numbers, numbers.c.mapping_id == MappingRow.id)
        .where(MappingRow.tenant_id == tenant_id)
        .order_by(MappingRow.created_at.desc(), MappingRow.id.desc())
        .execution_options(populate_existing=True)
    )
    if mapping_id is not None:
        query = query.where(MappingRow.id == mapping_id)
    coverage = _coverages(s, tenant_id)
    return [
        SavedMapping(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.name,
            retailer=row.retailer,
            network=row.network,
            report=row.report,
            latest_version=latest,
            active_version=chosen,
            coverage=coverage.get(row.id),
            created_at=row.created_at,
        )
        for row, latest, chosen in s.execute(query)
    ]


def insert_version(s: Session, version: MappingVersion, document: dict[str, Any]) -> None:
    s.execute(
        insert(MappingVersionRow).values(
            id=version.id,
            tenant_id=version.tenant_id,
            mapping_id=version.mapping_id,
            version=version.version,
            digest=version.digest,
            document=document,
            state=version.state.value,
            note=version.note,
            author=version.author,
            created_at=version.created_at,
        )
    )


def versions(s: Session, tenant_id: str, mapping_id: str) -> list[MappingVersion]:
    """Newest first."""
    return _versions(s, tenant_id, MappingVersionRow.mapping_id == mapping_id)


def version_by_number(s: Session, tenant_id: str, mapping_id: str, number: int) -> MappingVersion | None:
    wanted = (MappingVersionRow.mapping_id == mapping_id, MappingVersionRow.version == number)
    return next(iter(_versions(s, tenant_id, *wanted)), None)


def version_by_digest(s: Session, tenant_id: str, mapping_id: str, digest: str) -> MappingVersion | None:
    wanted = (MappingVersionRow.mapping_id == mapping_id, MappingVersionRow.digest == digest)
    return next(iter(_versions(s, tenant_id, *wanted)), None)


def version_by_id(s: Session, tenant_id: str, version_id: str) -> MappingVersion | None:
    return next(iter(_versions(s, tenant_id, MappingVersionRow.id == version_id)), None)


def newest_number(s: Session, tenant_id: str, mapping_id: str) -> int:
    """0 for a mapping without versions."""
    query = select(func.max(MappingVersionRow.version)).where(
        MappingVersionRow.tenant_id == tenant_id, MappingVersionRow.mapping_id == mapping_id
    )
    return s.scalar(query) or 0


def set_active(s: Session, tenant_id: str, mapping_id: str, number: int) -> None:
    """This version becomes the active one; the one that was is retired. The caller holds the mapping's lock."""
    of_mapping = (MappingVersionRow.tenant_id == tenant_id, MappingVersionRow.mapping_id == mapping_id)
    s.execute(
        update(MappingVersionRow)
        .where(
            *of_mapping,
            MappingVersionRow.state == MappingState.ACTIVE.value,
            MappingVersionRow.version != number,
        )
        .values(state=MappingState.RETIRED.value)
    )
    s.execute(
        update(MappingVersionRow)
        .where(*of_mapping, MappingVersionRow.version == number)
        .values(state=MappingState.ACTIVE.value)
    )


def active_versions(s: Session, tenant_id: str) -> list[MappingVersion]:
    """The versions that are in use, one of each mapping at most, newest first."""
    return _versions(s, tenant_id, MappingVersionRow.state == MappingState.ACTIVE.value)


def insert_run(s: Session, run: HarmonizedRun) -> None:
    s.execute(
        insert(HarmonizedRunRow).values(
            id=run.id,
            tenant_id=run.tenant_id,
            dataset_id=run.dataset_id,
            dataset_digest=run.dataset_digest,
            mapping_version_id=run.mapping_version_id,
            mapping_digest=run.mapping_digest,
            job_id=run.job_id,
            path=run.path,
            digest=run.digest,
            size_bytes=run.size_bytes,
            rows_in=run.rows_in,
            rows_out=run.rows_out,
            coverage=run.coverage,
            report=run.report,
            created_by=run.created_by,
            created_at=run.created_at,
        )
    )


def runs(
    s: Session,
    tenant_id: str,
    *,
    run_id: str | None = None,
    dataset_id: str | None = None,
    mapping_id: str | None = None,
    limit: int,
) -> list[HarmonizedRun]:
    """Newest first."""
    query = (
        select(HarmonizedRunRow, MappingRow.name, MappingVersionRow.version)
        .join(MappingVersionRow, MappingVersionRow.id == HarmonizedRunRow.mapping_version_id)
        .join(MappingRow, MappingRow.id == MappingVersionRow.mapping_id)
        .where(HarmonizedRunRow.tenant_id == tenant_id)
        .order_by(HarmonizedRunRow.created_at.desc(), HarmonizedRunRow.id.desc())
        .limit(limit)
    )
    if run_id is not None:
        query = query.where(HarmonizedRunRow.id == run_id)
    if dataset_id is not None:
        query = query.where(HarmonizedRunRow.dataset_id == dataset_id)
    if mapping_id is not None:
        query = query.where(MappingRow.id == mapping_id)
    return [_run(row, f"{name}@{version}") for row, name, version in s.execute(query)]


def _coverages(s: Session, tenant_id: str) -> dict[str, float]:
    """Mapping → coverage of its newest run."""
    newest = func.row_number().over(
        partition_by=MappingVersionRow.mapping_id,
        order_by=(HarmonizedRunRow.created_at.desc(), HarmonizedRunRow.id.desc()),
    )
    ranked = (
        select(MappingVersionRow.mapping_id, HarmonizedRunRow.coverage, newest.label("place"))
        .join(MappingVersionRow, MappingVersionRow.id == HarmonizedRunRow.mapping_version_id)
        .where(HarmonizedRunRow.tenant_id == tenant_id)
        .subquery()
    )
    found = s.execute(select(ranked.c.mapping_id, ranked.c.coverage).where(ranked.c.place == 1))
    return {row.mapping_id: row.coverage for row in found}


def _versions(s: Session, tenant_id: str, *wanted: ColumnElement[bool]) -> list[MappingVersion]:
    query = (
        select(MappingVersionRow, MappingRow.name)
        .join(MappingRow, MappingRow.id == MappingVersionRow.mapping_id)
        .where(MappingVersionRow.tenant_id == tenant_id, *wanted)
        .order_by(
            MappingVersionRow.created_at.desc(),
            MappingVersionRow.version.desc(),
            MappingVersionRow.id.desc(),
        )
        .execution_options(populate_existing=True)
    )
    return [_version(row, name) for row, name in s.execute(query)]


def _version(row: MappingVersionRow, name: str) -> MappingVersion:
    return MappingVersion(
        id=row.id,
        tenant_id=row.tenant_id,
        mapping_id=row.mapping_id,
        name=name,
        version=row.version,
        digest=row.digest,
        mapping=Mapping.model_validate(row.document),
        state=MappingState(row.state),
        note=row.note,
        author=row.author,
        created_at=row.created_at,
    )


def _run(row: HarmonizedRunRow, label: str) -> HarmonizedRun:
    return HarmonizedRun(
        id=row.id,
        tenant_id=row.tenant_id,
        dataset_id=row.dataset_id,
        dataset_digest=row.dataset_digest,
        mapping_version_id=row.mapping_version_id,
        mapping_label=label,
        mapping_digest=row.mapping_digest,
        job_id=row.job_id,
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        rows_in=row.rows_in,
        rows_out=row.rows_out,
        coverage=row.coverage,
        report=dict(row.report),
        created_by=row.created_by,
        created_at=row.created_at,
    )
