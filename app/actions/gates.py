"""Gates: plan, train, look at, promote."""

from collections.abc import Sequence

from pydantic import ValidationError

from app.actions import datasets
from app.bootstrap import Console
from core.compose import gates
from core.compose.gate_records import Gate
from core.compose.records import GateKind
from core.errors import InvalidInputError
from core.jobs import service as jobs
from core.jobs.records import Job
from core.registry import service as registry
from core.tenants import audit
from core.tenants.records import Permission, Principal
from core.training.gate_spec import (
    KIND,
    GateSource,
    GateTrainingSpec,
    evaluated,
    look_up,
    own_dataset,
    read_data,
)
from core.training.records import readable_reasons


def plan_gate(
    c: Console,
    p: Principal,
    *,
    name: str,
    kind: GateKind,
    adapters: Sequence[tuple[str, str | None]],
    base_rows: str | None = None,
    labelled: str | None = None,
    **choices: int | float,
) -> GateTrainingSpec:
    """A gate over adapters, each with the dataset of its prompts; None: the one that it was trained on.

    `labelled` names one set whose column «adapter» says which is best. `choices` are fields of GateTrainingSpec.
    Raises NotFoundError, InvalidInputError, ConflictError for an adapter that cannot serve.
    """
    p.require(Permission.TRAIN)
    gates.check_name(name)
    named = {given: datasets.find_dataset(c, p, given).id for _, given in adapters if given}
    sources = []
    with c.database.reading() as s:
        for adapter_name, given in adapters:
            adapter = registry.resolve(s, p.tenant_id, adapter_name)
            if given:
                dataset_id: str | None = named[given]
            else:
                dataset_id = None if labelled else own_dataset(s, p.tenant_id, adapter).id
            sources.append({"adapter_id": adapter.id, "dataset_id": dataset_id})
    try:
        return GateTrainingSpec.model_validate(
            {
                "name": name,
                "kind": kind,
                "sources": [GateSource.model_validate(source) for source in sources],
                "base_dataset_id": datasets.find_dataset(c, p, base_rows).id if base_rows else None,
                "labelled_dataset_id": datasets.find_dataset(c, p, labelled).id if labelled else None,
                **choices,
            }
        )
    except ValidationError as error:
        raise InvalidInputError(
            "The gate cannot be trained like this.", readable_reasons(error), "Correct the values."
        ) from None


def submit_gate(c: Console, p: Principal, spec: GateTrainingSpec) -> Job:
    """Write the job, then hand it to the queue. What can be known before it starts is checked here.

    Raises NotFoundError, InvalidInputError, ConflictError, IntegrityError.
    """
    p.require(Permission.TRAIN)
    gates.check_name(spec.name)
    with c.database.reading() as s:
        known = look_up(s, p.tenant_id, spec)
    evaluated(read_data(known, spec), spec.evaluation_rows, spec.seed)
    now = c.clock()
    with c.database.transaction() as s:
        job = jobs.submit(
            s,
            p.tenant_id,
            kind=KIND,
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            submitted_by=p.actor,
            now=now,
        )
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="gate.submitted",
            subject=job.id,
            detail={
                "name": spec.name,
                "kind": spec.kind.value,
                "adapters": [a.label for a in known.adapters],
            },
            now=now,
        )
    # Where the queue cannot be reached, the worker finds the row and the job runs a little later.
    c.queue.enqueue(job.id)
    return job


def list_gates(c: Console, p: Principal, *, kind: GateKind | None = None) -> list[Gate]:
    """All versions, newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return gates.list_gates(s, p.tenant_id, kind=kind)


def find_gate(c: Console, p: Principal, name_or_id: str) -> Gate:
    """To look at: by id, by «name@2», or the newest version of a name. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return gates.find_version(s, p.tenant_id, name_or_id)


def promote_gate(c: Console, p: Principal, name_or_id: str) -> Gate:
    """Let a version answer for its name. Raises NotFoundError, ConflictError when it is not shown to be better."""
    p.require(Permission.TRAIN)
    now = c.clock()
    with c.database.transaction() as s:
        gate = gates.find_version(s, p.tenant_id, name_or_id)
        return gates.promote(s, p.tenant_id, gate.id, actor=p.actor, now=now)
