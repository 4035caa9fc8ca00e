"""Federations, and answers from a composition."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app import routing
from app.admission import CountedPieces
from app.bootstrap import Console
from core.compose import service as compose
from core.compose.records import CompositionSpec, Federation, FederationDiff
from core.compose.resolve import count_blocks
from core.compose.served import list_swaps as swaps_of
from core.compose.served import served_history
from core.compose.swap_records import ServedKind, Swap
from core.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from core.experiments import service as experiments
from core.experiments.records import State
from core.serve.records import AnswerPiece, InferenceAnswer, InferenceRequest, ServedModel
from core.tenants import audit
from core.tenants.records import Permission, Principal


def list_federations(c: Console, p: Principal) -> list[Federation]:
    """The newest version of each."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return compose.list_federations(s, p.tenant_id)


def get_federation(c: Console, p: Principal, federation_id: str) -> Federation:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return compose.get_federation(s, p.tenant_id, federation_id)


def find_federation(c: Console, p: Principal, name: str) -> Federation:
    """By id, by name (newest version), or by «name@2». Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        found = compose.find_federation(s, p.tenant_id, name)
    if found is None:
        raise _no_federation(name)
    return found


def federation_versions(c: Console, p: Principal, name: str) -> list[Federation]:
    """All versions of a name, newest first. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        found = compose.list_federations(s, p.tenant_id, name=name)
    if not found:
        raise _no_federation(name)
    return found


def diff_federations(c: Console, p: Principal, name: str, older: int, newer: int) -> FederationDiff:
    """What changed between two versions of a name. Raises NotFoundError."""
    versions = {federation.version: federation for federation in federation_versions(c, p, name)}
    for version in (older, newer):
        if version not in versions:
            raise _no_federation(f"{name}@{version}")
    return compose.diff_federations(versions[older], versions[newer])


def rollback_federation(c: Console, p: Principal, name: str, version: int | None = None) -> Federation:
    """Let a name mean an older version again: `version`, or what it meant before. Answers the one that serves now.

    What served before a swap needs only a flip; any other version is built and tried first, like every swap.
    Raises NotFoundError, ConflictError (nothing to go back to, it serves already, it cannot serve).
    """
    p.require(Permission.TRAIN)
    versions = federation_versions(c, p, name)
    kind = ServedKind.FEDERATION
    with c.database.reading() as s:
        history = served_history(s, p.tenant_id, kind, name)
    serving = history[0] if history else versions[0].version
    if version is None and len(history) < 2:
        older = [each.version for each in versions if each.version < serving]
        if not older:
            raise ConflictError(f"«{name}» has no older version.", "", "Save another version.")
        version = older[0]
    with _as_conflict():
        if version is None or version in history[1:2]:
            c.swaps.rollback(p.tenant_id, name, kind=kind, actor=p.actor)
        else:
            c.swaps.swap_adapter(p.tenant_id, name, version, kind=kind, actor=p.actor)
    return find_federation(c, p, name)


def save_federation(
    c: Console, p: Principal, name: str, description: str, spec: CompositionSpec
) -> Federation:
    """Save the next version of a name. Raises NotFoundError or ConflictError for adapters that cannot serve, and
    ConflictError for the id of an experiment that runs."""
    p.require(Permission.TRAIN)
    now = c.clock()
    base = c.base()
    with c.database.transaction() as s:
        _check_no_experiment(s, p, name)
        compose.resolve(s, p.tenant_id, spec, base_digest=base.digest, modules=tuple(base.linears))
        federation = compose.save_federation(
            s,
            p.tenant_id,
            name=name,
            description=description,
            spec=spec,
            created_by=p.actor,
            now=now,
        )
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="federation.saved",
            subject=federation.id,
            detail={"name": federation.name, "version": federation.version},
            now=now,
        )
    return federation


def check_composition(c: Console, p: Principal, spec: CompositionSpec) -> None:
    """Raise what keeps a composition from answering here: NotFoundError, ConflictError, InvalidInputError,
    IntegrityError. No engine is needed."""
    p.require(Permission.INFER)
    base = c.base()
    with c.database.reading() as s:
        compose.resolve(s, p.tenant_id, spec, base_digest=base.digest, modules=tuple(base.linears))


def block_count(c: Console, p: Principal) -> int | None:
    """How many blocks the base has, for depth segments; None when its layers do not tell."""
    p.require(Permission.VIEW)
    return count_blocks(c.base().linears)


def serving_version(c: Console, p: Principal, kind: ServedKind, name: str) -> int | None:
    """The version that answers to a name now; None where none can."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        if kind is ServedKind.FEDERATION:
            found = compose.find_federation(s, p.tenant_id, name)
            return found.version if found is not None else None
        try:
            return compose.find_adapter(s, p.tenant_id, name).version
        except (NotFoundError, ConflictError):
            return None


def answer(
    c: Console,
    p: Principal,
    request: InferenceRequest,
    *,
    request_id: str | None = None,
    session_id: str | None = None,
) -> InferenceAnswer:
    """Answer one request. Blocks until done. `request_id`: the one that the client was told already. `session_id`: the
    unit of an experiment where the request names no user.

    Raises BusyError when the workspace has used what it may.
    """
    p.require(Permission.INFER)
    with c.admission.enter(p, request, request_id) as entry:
        given = routing.answer(c, p, entry, session_id)
        entry.answered(given)
    return given


def stream(
    c: Console,
    p: Principal,
    request: InferenceRequest,
    *,
    request_id: str | None = None,
    session_id: str | None = None,
) -> Iterator[AnswerPiece]:
    """Answer piece by piece; closing the iterator cancels. Raises BusyError when the workspace has used what it may."""
    p.require(Permission.INFER)
    entry = c.admission.enter(p, request, request_id)
    try:
        return CountedPieces(routing.stream(c, p, entry, session_id), entry)
    except BaseException as error:
        entry.end(error)
        raise


def list_models(c: Console, p: Principal) -> list[ServedModel]:
    """Everything that a request may name as its model, experiments that run among them."""
    p.require(Permission.INFER)
    return [*c.runtime.models(p), *routing.running_models(c, p)]


def swap(
    c: Console,
    p: Principal,
    kind: ServedKind,
    name: str,
    to_version: int,
    *,
    warm: bool = True,
    progress: Callable[[Swap], None] | None = None,
    check: Callable[[Session], None] | None = None,
) -> Swap:
    """Let a name mean another version; the old one serves until the new one has answered a test.

    Blocks until the old one is released; `progress` gets the swap at each state, and what `check` raises at the flip
    stops it. Raises NotFoundError, ConflictError, InvalidInputError, UnavailableError.
    """
    p.require(Permission.TRAIN)
    with _as_conflict():
        return c.swaps.swap_adapter(
            p.tenant_id, name, to_version, kind=kind, actor=p.actor, warm=warm, progress=progress, check=check
        )


def try_out(c: Console, p: Principal, spec: CompositionSpec) -> None:
    """Let a composition answer the test of a swap, while no name changes. Raises what would make its swap fail."""
    p.require(Permission.TRAIN)
    with _as_conflict():
        c.swaps.try_out(p.tenant_id, spec)


def swap_between(c: Console, p: Principal, old: str, new: str, *, warm: bool = True) -> Swap:
    """Swap an adapter for another version of its name; both by id, or as «name@2».

    Raises InvalidInputError for two names, ConflictError when `old` is not what serves; and what `swap` raises.
    """
    p.require(Permission.TRAIN)
    with c.database.reading() as s:
        before, after = (compose.find_adapter(s, p.tenant_id, each) for each in (old, new))
        serving = compose.find_adapter(s, p.tenant_id, before.name)
    if before.name != after.name:
        raise InvalidInputError(
            f"{before.label} and {after.label} have two names.",
            "A swap changes which version of one name answers; requests by another name never notice it.",
            f"Give the new adapter the name «{before.name}», or let a federation name it.",
        )
    if before.id != serving.id:
        raise ConflictError(
            f"{before.label} does not serve now.", f"{serving.label} does.", "Look at it again."
        )
    return swap(c, p, ServedKind.ADAPTER, after.name, after.version, warm=warm)


def roll_back(c: Console, p: Principal, kind: ServedKind, name: str, *, only: str | None = None) -> Swap:
    """Let a name mean again what it meant before its last swap; with `only`, when that is this swap. Raises
    ConflictError when there is nothing before, or another swap came since."""
    p.require(Permission.TRAIN)
    with _as_conflict():
        return c.swaps.rollback(p.tenant_id, name, kind=kind, actor=p.actor, only=only)


def list_swaps(c: Console, p: Principal, *, name: str | None = None, limit: int = 100) -> list[Swap]:
    """Swaps of the workspace, newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return swaps_of(s, p.tenant_id, name=name, limit=limit)


def _check_no_experiment(s: Session, p: Principal, name: str) -> None:
    """Requests by the id of an experiment that runs go to its variants: a federation of that name would get none."""
    found = experiments.list_experiments(s, p.tenant_id, states=(State.RUNNING, State.PAUSED))
    if any(each.id == name for each in found):
        raise ConflictError(
            f"«{name}» is the id of an experiment that is not over.",
            "Requests by this name go to its variants and would not reach the federation.",
            "Choose another name, or stop the experiment first.",
        )


@contextmanager
def _as_conflict() -> Iterator[None]:
    """Files that changed since they were registered are no failure of this product."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(error.what, error.why, error.next_step) from error


def _no_federation(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no federation «{name[:200]}».",
        "Nothing here has this id or name.",
        "List the federations.",
    )
