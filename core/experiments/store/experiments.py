"""All SQL about experiments themselves: found by id, changed only as long as they are what the caller saw."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.errors import ConflictError
from core.experiments.drafts import defined, definition_of, reached_document, reached_from
from core.experiments.records import Experiment, State
from core.storage.tables import ExperimentRow, ExperimentSnapshotRow
from core.storage.text import storable_document
from core.storage.versions import is_askable


def add(s: Session, experiment: Experiment) -> None:
    """Write a new one down. Raises ConflictError when its id is taken."""
    try:
        with s.begin_nested():
            s.execute(
                insert(ExperimentRow).values(
                    tenant_id=experiment.tenant_id,
                    id=experiment.id,
                    created_by=experiment.created_by,
                    created_at=experiment.created_at,
                    **_changing(experiment),
                )
            )
    except DuplicateRowError:
        raise ConflictError(
            f"There is an experiment «{experiment.id}» already.",
            "Its numbers and those of a new one must not mix.",
            "Choose another id.",
        ) from None


def change(s: Session, before: Experiment, after: Experiment) -> Experiment:
    """Write what has changed since `before` was read. Raises ConflictError when somebody else changed it first."""
    written = replace(after, revision=before.revision + 1)
    statement = (
        update(ExperimentRow)
        .where(
            ExperimentRow.tenant_id == before.tenant_id,
            ExperimentRow.id == before.id,
            ExperimentRow.revision == before.revision,
        )
        .values(**_changing(written))
        .execution_options(synchronize_session=False)
    )
    if s.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        raise ConflictError(
            f"The experiment «{before.id}» was changed meanwhile.",
            "Somebody else was first.",
            "Look at it again.",
        )
    return written


def get(s: Session, tenant_id: str, experiment_id: str) -> Experiment | None:
    """One by id."""
    if not is_askable(experiment_id):
        return None
    query = select(ExperimentRow).where(
        ExperimentRow.tenant_id == tenant_id, ExperimentRow.id == experiment_id
    )
    return next((each for each in _experiments(s, query) if each.id == experiment_id), None)


def hold(s: Session, tenant_id: str, experiment_id: str) -> None:
    """Let others that do the same wait until this transaction has ended."""
    s.execute(
        select(ExperimentRow.id)
        .where(ExperimentRow.tenant_id == tenant_id, ExperimentRow.id == experiment_id)
        .with_for_update()
    )


def list_all(
    s: Session, tenant_id: str, states: Sequence[State], limit: int | None = None
) -> list[Experiment]:
    """Those in these states, newest first."""
    query = (
        select(ExperimentRow)
        .where(
            ExperimentRow.tenant_id == tenant_id, ExperimentRow.state.in_([state.value for state in states])
        )
        .order_by(ExperimentRow.created_at.desc(), ExperimentRow.id.desc())
        .limit(limit)
    )
    return _experiments(s, query)


def of_namespace(s: Session, tenant_id: str, namespace: str, states: Sequence[State]) -> list[Experiment]:
    """Those of a namespace in these states."""
    query = select(ExperimentRow).where(
        ExperimentRow.tenant_id == tenant_id,
        ExperimentRow.namespace == namespace,
        ExperimentRow.state.in_([state.value for state in states]),
    )
    return [each for each in _experiments(s, query.with_for_update()) if each.namespace == namespace]


def running_anywhere(s: Session) -> list[tuple[str, str]]:
    """Tenant and id of all that run, for whoever keeps them going."""
    query = select(ExperimentRow.tenant_id, ExperimentRow.id).where(
        ExperimentRow.state == State.RUNNING.value
    )
    return [
        (row.tenant_id, row.id)
        for row in s.execute(query.order_by(ExperimentRow.tenant_id, ExperimentRow.id))
    ]


def promoting_anywhere(s: Session) -> list[tuple[str, str]]:
    """Tenant and id of all whose promotion was begun and has not ended."""
    query = select(ExperimentRow.tenant_id, ExperimentRow.id).where(
        ExperimentRow.state == State.STOPPED.value, ExperimentRow.settled_arm.is_not(None)
    )
    return [(row.tenant_id, row.id) for row in s.execute(query.order_by(ExperimentRow.stopped_at))]


def put_snapshot(s: Session, tenant_id: str, experiment_id: str, day: date, content: dict[str, Any]) -> None:
    """How it stands on a day, in place of what was noted before on it. The caller holds the experiment's evidence."""
    row = ExperimentSnapshotRow
    of_day = (row.tenant_id == tenant_id, row.experiment_id == experiment_id, row.day == day)
    kept = storable_document(content)
    changed = s.execute(
        update(row).where(*of_day).values(content=kept).execution_options(synchronize_session=False)
    )
    # MariaDB counts only rows that really changed, so what is there has to be looked for.
    if changed.rowcount != 1 and s.scalar(select(row.day).where(*of_day)) is None:  # type: ignore[attr-defined]
        s.execute(insert(row).values(tenant_id=tenant_id, experiment_id=experiment_id, day=day, content=kept))


def snapshots(s: Session, tenant_id: str, experiment_id: str) -> list[tuple[date, dict[str, Any]]]:
    """All days, oldest first."""
    row = ExperimentSnapshotRow
    query = (
        select(row.day, row.content)
        .where(row.tenant_id == tenant_id, row.experiment_id == experiment_id)
        .order_by(row.day)
    )
    return [(found.day, found.content) for found in s.execute(query)]


def _changing(experiment: Experiment) -> dict[str, Any]:
    moments: dict[str, datetime | None] = {
        "started_at": experiment.started_at,
        "stopped_at": experiment.stopped_at,
        "begun_at": experiment.begun_at,
    }
    return {
        "name": experiment.name,
        "state": experiment.state.value,
        "namespace": experiment.namespace,
        "definition": storable_document(definition_of(experiment)),
        "allocation": None if experiment.allocation is None else dict(experiment.allocation),
        "reached": reached_document(experiment.reached),
        "reason": experiment.reason,
        "settled_arm": experiment.settled_arm,
        "revision": experiment.revision,
        **moments,
    }


def _experiments(s: Session, query: Any) -> list[Experiment]:
    rows: Sequence[ExperimentRow] = s.scalars(query.execution_options(populate_existing=True)).all()
    return [
        Experiment(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.name,
            namespace=row.namespace,
            state=State(row.state),
            created_by=row.created_by,
            created_at=row.created_at,
            started_at=row.started_at,
            stopped_at=row.stopped_at,
            begun_at=row.begun_at,
            reason=row.reason,
            revision=row.revision,
            reached=reached_from(row.reached),
            allocation=row.allocation,
            settled_arm=row.settled_arm,
            **defined(row.definition),
        )
        for row in rows
    ]
