"""Gates of a tenant: kept, found, promoted by a rule, and read for serving."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core.compose.gate_files import read_gate_file, shaped
from core.compose.gate_records import Gate, GateAdapter, GateState
from core.compose.gate_report import decide
from core.compose.records import GateKind
from core.compose.router import Router, router_of
from core.compose.store import gates as store
from core.errors import ConflictError, NotFoundError, RefusedFileError
from core.storage.ids import new_id
from core.storage.versions import check_name as require_name
from core.storage.versions import split_version
from core.tenants import audit

Gains = dict[str, tuple[tuple[str, float], ...]]
Opened = TypeVar("Opened", Router, Gains)


def record(
    s: Session,
    tenant_id: str,
    *,
    name: str,
    kind: GateKind,
    base_digest: str,
    digest: str,
    path: Path,
    adapters: Sequence[GateAdapter],
    report: Mapping[str, Any],
    job_id: str | None,
    created_by: str,
    now: datetime,
) -> Gate:
    """Keep a trained gate as the next version of its name, a candidate. A job makes at most one.

    Raises InvalidInputError for a name that cannot be used.
    """
    check_name(name)
    if job_id is not None and (made := store.by_job(s, tenant_id, job_id)) is not None:
        return made
    gate = Gate(
        id=new_id("gate"),
        tenant_id=tenant_id,
        name=name,
        version=0,
        kind=kind,
        state=GateState.CANDIDATE,
        base_digest=base_digest,
        digest=digest,
        path=str(path.resolve()),
        adapters=tuple(adapters),
        report=report,
        job_id=job_id,
        created_by=created_by,
        created_at=now,
    )
    return store.add(s, gate)


def check_name(name: str) -> None:
    """Raise InvalidInputError unless a gate may have this name."""
    require_name(name, "a gate")


def get_gate(s: Session, tenant_id: str, gate_id: str) -> Gate:
    """One version by id, in whatever state. Raises NotFoundError."""
    gate = store.get(s, tenant_id, gate_id)
    if gate is None:
        raise _not_found(gate_id)
    return gate


def find_gate(s: Session, tenant_id: str, name_or_id: str) -> Gate:
    """A name: its promoted version. An id, «name v2» or «name@2»: that version, so that a candidate can be tried.

    Raises NotFoundError, and ConflictError when no version of the name is promoted.
    """
    if (gate := store.get(s, tenant_id, name_or_id)) is not None:
        return gate
    versions = store.by_name(s, tenant_id, name_or_id)
    for gate in versions:
        if gate.state is GateState.PROMOTED:
            return gate
    if versions:
        raise ConflictError(
            f"No version of the gate «{name_or_id}» is promoted.",
            f"The newest, {versions[0].label}, is a {versions[0].state}. {_verdict(versions[0])[1]}",
            f"Promote a version, or name one to try it: «{versions[0].label}».",
        )
    return _find_numbered(s, tenant_id, name_or_id)


def find_version(s: Session, tenant_id: str, name_or_id: str) -> Gate:
    """To look at: an id, «name v2» or «name@2», or a name, which means its newest version in whatever state.

    Raises NotFoundError.
    """
    if (gate := store.get(s, tenant_id, name_or_id)) is not None:
        return gate
    if versions := store.by_name(s, tenant_id, name_or_id):
        return versions[0]
    return _find_numbered(s, tenant_id, name_or_id)


def list_gates(s: Session, tenant_id: str, *, kind: GateKind | None = None) -> list[Gate]:
    """All versions of all gates, newest first."""
    return store.list_all(s, tenant_id, kind=kind)


def promote(s: Session, tenant_id: str, gate_id: str, *, actor: str, now: datetime) -> Gate:
    """Let this version answer for its name; the one before retires. A retired one may be promoted again.

    Raises NotFoundError, and ConflictError with the reason when its report does not show that it is better.
    """
    gate = get_gate(s, tenant_id, gate_id)
    if gate.state is GateState.PROMOTED:
        return gate
    better, reason = _verdict(gate)
    if not better:
        raise ConflictError(
            f"The gate {gate.label} is not promoted.",
            reason,
            "Serve the best adapter alone, or train the gate with more rows.",
        )
    promoted = store.make_the_promoted(s, gate)
    audit.append(
        s,
        tenant_id=tenant_id,
        actor=actor,
        action="gate.promoted",
        subject=gate.id,
        detail={"name": gate.name, "version": gate.version, "digest": gate.digest, "reason": reason},
        now=now,
    )
    return promoted


def check_fits(gate: Gate, kind: GateKind, base_digest: str, adapter_digests: Sequence[str]) -> None:
    """Raise ConflictError unless the gate is of this kind and was trained on this base with just these adapters."""
    if gate.kind is not kind:
        raise ConflictError(
            f"The gate {gate.label} is of another kind.",
            f"It is «{gate.kind}», the composition asks for «{kind}».",
            "Correct the kind, or choose another gate.",
        )
    if gate.base_digest != base_digest:
        raise ConflictError(
            f"The gate {gate.label} was trained on another base model.",
            f"It needs {gate.base_digest[:12]}…; {base_digest[:12]}… is loaded.",
            "Train it again on this base.",
        )
    missing = [a.label for a in gate.adapters if a.digest not in adapter_digests]
    unknown = [digest[:12] + "…" for digest in adapter_digests if digest not in gate.adapter_digests]
    if missing or unknown:
        why = [f"The composition lacks {', '.join(missing)}."] if missing else []
        why += [f"The gate does not know the adapter {', '.join(unknown)}."] if unknown else []
        raise ConflictError(
            f"The gate {gate.label} was trained with other adapters.",
            " ".join(why),
            "Use the same adapters, or train the gate again.",
        )


def read_router(gate: Gate) -> Router:
    """The router in the gate's file. Raises IntegrityError, RefusedFileError, ConflictError for another kind."""
    _require_kind(gate, GateKind.ROUTER)
    return router_of(read_gate_file(gate))


def read_gains(gate: Gate) -> Gains:
    """Adapter digest → (module, gain) of every module, for `WeightedAdapter.gains`. Raises as `read_router`."""
    _require_kind(gate, GateKind.STATIC)
    file = read_gate_file(gate)
    gains = shaped(file, "gains", (len(file.adapters), len(file.modules)))
    if len(set(file.modules)) < len(file.modules):
        raise RefusedFileError(
            "The file of a gate was refused.", "It names a module twice.", "Train the gate again."
        )
    return {
        digest: tuple(zip(file.modules, row.tolist(), strict=True))
        for digest, row in zip(file.adapters, gains, strict=True)
    }


class OpenGates:
    """Gates that were read and checked once, by digest of their file; the least recently used go first.

    May be asked from any thread. Two that ask for the same gate at once may both read it; they get equal ones.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Router | Gains] = OrderedDict()

    def router(self, gate: Gate) -> Router:
        """As `read_router`."""
        found = self._recall(gate.digest)
        return found if isinstance(found, Router) else self._keep(gate.digest, read_router(gate))

    def gains(self, gate: Gate) -> Gains:
        """As `read_gains`."""
        found = self._recall(gate.digest)
        return found if isinstance(found, dict) else self._keep(gate.digest, read_gains(gate))

    def _recall(self, digest: str) -> Router | Gains | None:
        with self._lock:
            if digest in self._open:
                self._open.move_to_end(digest)
            return self._open.get(digest)

    def _keep(self, digest: str, gate: Opened) -> Opened:
        with self._lock:
            self._open[digest] = gate
            self._open.move_to_end(digest)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        return gate


def _find_numbered(s: Session, tenant_id: str, label: str) -> Gate:
    if (numbered := split_version(label)) is not None:
        for gate in store.by_name(s, tenant_id, numbered[0]):
            if gate.version == numbered[1]:
                return gate
    raise _not_found(label)


def _require_kind(gate: Gate, kind: GateKind) -> None:
    if gate.kind is not kind:
        raise ConflictError(
            f"The gate {gate.label} is of another kind.",
            f"It is «{gate.kind}», not «{kind}».",
            "Choose another gate.",
        )


def _verdict(gate: Gate) -> tuple[bool, str]:
    """Judged anew from the figures, not from what was said about them."""
    return decide(gate.report.get("comparison") or {})


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no gate «{name[:200]}».", "Nothing here has this id or name.", "List the gates."
    )
