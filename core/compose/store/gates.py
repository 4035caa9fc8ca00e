"""All SQL about gates: one row per version; nothing but its state is ever changed."""

from dataclasses import replace

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.compose.gate_records import Gate, GateAdapter, GateState
from core.compose.records import GateKind
from core.storage.tables import GateRow
from core.storage.text import storable_document
from core.storage.versions import insert_next_version, is_askable


def add(s: Session, gate: Gate) -> Gate:
    """Insert as the next version of its name. Two that finish at once get two versions."""
    return insert_next_version(
        s,
        GateRow.version,
        (GateRow.tenant_id == gate.tenant_id, GateRow.name == gate.name),
        lambda number: replace(gate, version=number),
        _row,
        what=f"gate {gate.name!r}",
    )


def get(s: Session, tenant_id: str, gate_id: str) -> Gate | None:
    """One version by id."""
    if not is_askable(gate_id):
        return None
    row = s.scalar(select(GateRow).where(GateRow.tenant_id == tenant_id, GateRow.id == gate_id))
    return _record(row) if row is not None and row.id == gate_id else None


def by_name(s: Session, tenant_id: str, name: str) -> list[Gate]:
    """All versions of a name, newest first. Names are told apart by case on every database."""
    if not is_askable(name):
        return []
    rows = s.scalars(
        select(GateRow)
        .where(GateRow.tenant_id == tenant_id, GateRow.name == name)
        .order_by(GateRow.version.desc())
    )
    return [_record(row) for row in rows if row.name == name]


def by_job(s: Session, tenant_id: str, job_id: str) -> Gate | None:
    """The gate that a job has made, if any."""
    row = s.scalar(select(GateRow).where(GateRow.tenant_id == tenant_id, GateRow.job_id == job_id).limit(1))
    return None if row is None else _record(row)


def list_all(s: Session, tenant_id: str, *, kind: GateKind | None = None) -> list[Gate]:
    """Every version of every gate, newest first."""
    wanted = select(GateRow).where(GateRow.tenant_id == tenant_id)
    if kind is not None:
        wanted = wanted.where(GateRow.kind == kind.value)
    return [_record(r) for r in s.scalars(wanted.order_by(GateRow.created_at.desc(), GateRow.id.desc()))]


def make_the_promoted(s: Session, gate: Gate) -> Gate:
    """Promote one version and retire the one before. Two that promote at once wait for each other."""
    # The rows are read again under a lock, else two transactions would each see the other version still promoted.
    s.execute(
        select(GateRow.id)
        .where(GateRow.tenant_id == gate.tenant_id, GateRow.name == gate.name)
        .order_by(GateRow.id)
        .with_for_update()
    ).all()
    of_name = (GateRow.tenant_id == gate.tenant_id, GateRow.name == gate.name)
    s.execute(
        update(GateRow)
        .where(*of_name, GateRow.state == GateState.PROMOTED.value, GateRow.id != gate.id)
        .values(state=GateState.RETIRED.value)
    )
    s.execute(update(GateRow).where(*of_name, GateRow.id == gate.id).values(state=GateState.PROMOTED.value))
    return replace(gate, state=GateState.PROMOTED)


def _row(gate: Gate) -> GateRow:
    return GateRow(
        id=gate.id,
        tenant_id=gate.tenant_id,
        name=gate.name,
        version=gate.version,
        kind=gate.kind.value,
        state=gate.state.value,
        base_digest=gate.base_digest,
        digest=gate.digest,
        path=gate.path,
        adapters=[{"digest": a.digest, "name": a.name, "version": a.version} for a in gate.adapters],
        report=storable_document(gate.report),
        job_id=gate.job_id,
        created_by=gate.created_by,
        created_at=gate.created_at,
    )


def _record(row: GateRow) -> Gate:
    return Gate(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        version=row.version,
        kind=GateKind(row.kind),
        state=GateState(row.state),
        base_digest=row.base_digest,
        digest=row.digest,
        path=row.path,
        adapters=tuple(GateAdapter(a["digest"], a["name"], a["version"]) for a in row.adapters),
        report=row.report,
        job_id=row.job_id,
        created_by=row.created_by,
        created_at=row.created_at,
    )
