"""All SQL about units and about the sums over them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.experiments.plan import Plan
from core.experiments.tally import Tally, UnitState
from core.storage.tables import ExperimentEvidenceRow, ExperimentUnitRow
from core.storage.text import storable_document

CHUNK = 400
Row = ExperimentUnitRow


def lock_tally(s: Session, tenant_id: str, experiment_id: str, plan: Plan, now: datetime) -> Tally:
    """The sums of an experiment, held until the transaction ends: whoever folds is alone with them."""
    document = hold(s, tenant_id, experiment_id, plan, now)
    return Tally.of(plan) if document is None else Tally.from_document(plan, document)


def hold(
    s: Session, tenant_id: str, experiment_id: str, plan: Plan, now: datetime
) -> Mapping[str, Any] | None:
    """Nobody folds until the transaction ends. Answers the sums as they are stored."""
    row = ExperimentEvidenceRow
    query = select(row.tally).where(row.tenant_id == tenant_id, row.experiment_id == experiment_id)
    document = s.scalar(query.with_for_update())
    if document is None:
        try:
            with s.begin_nested():
                s.execute(
                    insert(row).values(
                        tenant_id=tenant_id,
                        experiment_id=experiment_id,
                        tally=Tally.of(plan).document(),
                        updated_at=now,
                    )
                )
        except DuplicateRowError:  # another process folds the first
            pass
        document = s.scalar(query.with_for_update())
    return document


def read_tally(s: Session, tenant_id: str, experiment_id: str, plan: Plan) -> Tally:
    """The sums as they are."""
    row = ExperimentEvidenceRow
    document = s.scalar(
        select(row.tally).where(row.tenant_id == tenant_id, row.experiment_id == experiment_id)
    )
    return Tally.of(plan) if document is None else Tally.from_document(plan, document)


def put_tally(s: Session, tenant_id: str, experiment_id: str, tally: Tally, now: datetime) -> None:
    """Write the sums that `lock_tally` gave, changed."""
    row = ExperimentEvidenceRow
    s.execute(
        update(row)
        .where(row.tenant_id == tenant_id, row.experiment_id == experiment_id)
        .values(tally=storable_document(tally.document()), updated_at=now)
        .execution_options(synchronize_session=False)
    )


def get_units(s: Session, tenant_id: str, experiment_id: str, keys: Sequence[str]) -> dict[str, UnitState]:
    """Those that are known, by key."""
    found: dict[str, UnitState] = {}
    for chunk in _chunks(keys):
        query = select(Row).where(*_of(tenant_id, experiment_id), Row.unit.in_(chunk))
        for row in s.scalars(query.execution_options(populate_existing=True)):
            found[row.unit] = _state(row)
    return found


def firsts(
    s: Session, tenant_id: str, experiment_id: str, arm: str, places: Sequence[int]
) -> dict[int, tuple[str, int]]:
    """First outcomes of the units of an arm at these places: place → unit and outcome. Crossed units have none."""
    found: dict[int, tuple[str, int]] = {}
    for chunk in _chunks(places):
        query = select(Row.place, Row.unit, Row.first).where(
            *_of(tenant_id, experiment_id),
            Row.variant == arm,
            Row.place.between(min(chunk), max(chunk)),
            Row.crossed == 0,
        )
        found |= {row.place: (row.unit, row.first) for row in s.execute(query) if row.first is not None}
    return found


def put_units(s: Session, tenant_id: str, experiment_id: str, units: Iterable[UnitState]) -> None:
    """Write units down, new ones and known ones."""
    new: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    for unit in units:
        of = {"tenant_id": tenant_id, "experiment_id": experiment_id, "unit": unit.unit}
        (new if unit.is_new else known).append(of | _values(unit))
    if new:
        s.execute(insert(Row), new)
    if known:
        s.execute(update(Row), known)


def delete_all(s: Session, tenant_id: str, experiment_id: str) -> None:
    """Forget the single units. The sums stay."""
    s.execute(delete(Row).where(*_of(tenant_id, experiment_id)).execution_options(synchronize_session=False))


def _values(unit: UnitState) -> dict[str, Any]:
    return {
        "variant": unit.variant,
        "place": unit.place,
        "first": unit.first,
        "crossed": int(unit.crossed),
        "independent": int(unit.independent),
        "propensity": unit.propensity,
        "totals": {name: list(total) for name, total in unit.totals.items()},
        "ages": {age: list(total) for age, total in unit.ages.items()},
        "segment": dict(unit.segment) or None,
        "exposed_at": unit.exposed_at,
    }


def _state(row: Row) -> UnitState:
    return UnitState(
        unit=row.unit,
        variant=row.variant,
        exposed_at=row.exposed_at,
        place=row.place,
        first=row.first,
        crossed=bool(row.crossed),
        independent=bool(row.independent),
        propensity=row.propensity,
        totals=_totals(row.totals),
        ages=_totals(row.ages),
        segment=dict(row.segment or {}),
        is_new=False,
    )


def _totals(document: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (float(total[0]), float(total[1])) for name, total in document.items()}


def _of(tenant_id: str, experiment_id: str) -> tuple[Any, ...]:
    return Row.tenant_id == tenant_id, Row.experiment_id == experiment_id


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
