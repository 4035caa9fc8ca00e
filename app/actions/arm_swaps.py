"""A name that an experiment serves, swapped to one of its arms and back: always to the content that was tested.

An arm that is no version of its federation yet is saved as one, while the name goes on meaning what it meant: only the
flip of the swap, after the canary, changes what serves.
"""

from typing import Any

from sqlalchemy.orm import Session

from app import arms
from app.actions import compositions
from app.bootstrap import Console
from core.compose import service as compose
from core.compose import swap_target
from core.compose.records import CompositionSpec
from core.compose.served import get_swap, keep_serving, served_by, swap_under_way
from core.compose.swap_records import Served, ServedKind, Swap, SwapState
from core.errors import ConflictError
from core.experiments import promotions
from core.experiments.records import Arm, Experiment, Pinned, Serves
from core.tenants import audit
from core.tenants.records import Principal


def pinned_of(arm: Arm) -> Pinned:
    """What an arm was when it was started."""
    return Pinned(arm.pinned or {}, arm.digest, arm.label)


def let_serve(c: Console, p: Principal, experiment: Experiment, arm: Arm) -> dict[str, Any]:
    """Let the arm pass the canary and, where the experiment serves a name, let the name mean it. Answers the swap and
    the version, for the audit log. May be done again: what serves already is left as it is.

    Raises ConflictError (it cannot answer, is not what was tested, another swap is under way), UnavailableError.
    """
    serves = experiment.serves
    if serves is None:
        compositions.try_out(c, p, CompositionSpec.model_validate(dict(arm.pinned or {})))
        return {}
    kind, pinned = ServedKind(serves.kind.value), pinned_of(arm)
    version = _version(c, p, experiment, arm, serves)
    pointer = _pointer(c, p, serves)
    if pointer is not None and pointer.version == version:
        return {"swap": pointer.swap_id, "version": version}

    def still(s: Session) -> None:
        """Names inside of a version may have been swapped since it was looked up."""
        if not arms.holds(c, s, p.tenant_id, serves, version, pinned.digest):
            raise swap_target.changed_meanwhile(serves.name)

    try:
        swap_id = compositions.swap(c, p, kind, serves.name, version, check=still).id
    except ConflictError:
        pointer = _pointer(c, p, serves)
        if pointer is None or pointer.version != version:
            raise
        swap_id = pointer.swap_id  # another process that took it up was first
    return {"swap": swap_id, "version": version}


def go_back(c: Console, p: Principal, experiment: Experiment) -> dict[str, Any]:
    """Undo what `let_serve` did for what was promoted: the name means what it meant before, or, where that was the same
    version, the control. Raises ConflictError when the name was changed since, or would not change."""
    serves = experiment.serves
    if serves is None:
        return {}
    swap = _swap(c, p, experiment.swap_id)
    if swap is not None and swap.state is SwapState.ROLLED_BACK:  # a process died between the two steps
        return {"swap": swap.id}
    if swap is None or swap.from_version in (None, swap.to_version):
        return _to_control(c, p, experiment, serves, swap)
    pointer = _pointer(c, p, serves)
    if pointer is None or pointer.swap_id != swap.id:
        raise _swapped_since(experiment, serves)
    compositions.roll_back(c, p, swap.kind, serves.name, only=swap.id)
    with c.database.reading() as s:
        now = swap_target.current(s, p.tenant_id, swap.kind, serves.name)
    if now is None or now[0] == swap.to_version:
        raise ConflictError(
            f"«{serves.name}» still means version {swap.to_version}.",
            "Its swap was undone, and no older version can serve.",
            "Swap to the version that you want.",
        )
    return {"swap": swap.id, "version": now[0]}


def is_under_way(c: Console, tenant_id: str, serves: Serves | None) -> bool:
    """Whether a swap of the name has not ended yet."""
    if serves is None:
        return False
    with c.database.reading() as s:
        return swap_under_way(s, tenant_id, ServedKind(serves.kind.value), serves.name) is not None


def _to_control(
    c: Console, p: Principal, experiment: Experiment, serves: Serves, swap: Swap | None
) -> dict[str, Any]:
    """The name meant the promoted version before it was promoted, so that there is nothing to undo."""
    promoted = experiment.arm(experiment.settled_arm or "") or experiment.control
    with c.database.reading() as s:
        given = [
            arms.version_of(c, s, p.tenant_id, serves, arm.id, pinned_of(arm))
            for arm in (experiment.control, promoted)
        ]
    pointer = _pointer(c, p, serves)
    if pointer is None or pointer.version not in (given[0], swap.to_version if swap else given[1]):
        raise _swapped_since(experiment, serves)
    return let_serve(c, p, experiment, experiment.control)


def _version(c: Console, p: Principal, experiment: Experiment, arm: Arm, serves: Serves) -> int:
    """The version of the name that holds what was tested; a federation gets one where there is none yet."""
    pinned = pinned_of(arm)
    with c.database.reading() as s:
        arms.check_unchanged(c, s, p.tenant_id, arm.id, pinned)
        found = arms.version_of(c, s, p.tenant_id, serves, arm.id, pinned)
    return _saved(c, p, experiment, arm, serves) if found is None else found


def _saved(c: Console, p: Principal, experiment: Experiment, arm: Arm, serves: Serves) -> int:
    """The arm as the next version of the federation, which goes on serving what it serves."""
    spec = CompositionSpec.model_validate(dict(arm.pinned or {}))
    told = f"Variant «{arm.id}» of the experiment «{experiment.id}»."
    now = c.clock()
    with c.database.transaction() as s:
        promotions.hold(s, experiment)
        by_another = arms.version_of(c, s, p.tenant_id, serves, arm.id, pinned_of(arm))
        if by_another is not None:
            return by_another
        saved = compose.save_federation(
            s, p.tenant_id, name=serves.name, description=told, spec=spec, created_by=p.actor, now=now
        )
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="federation.saved",
            subject=saved.id,
            detail={"name": saved.name, "version": saved.version},
            now=now,
        )
        # A name that was never swapped means its newest version: without this the new one would serve untested.
        others = [
            each.version
            for each in compose.list_federations(s, p.tenant_id, name=serves.name)
            if each.id != saved.id
        ]
        if not others:
            raise ConflictError(
                f"Nothing serves «{serves.name}».", "It has no version.", "Save the federation."
            )
        keep_serving(s, p.tenant_id, ServedKind.FEDERATION, serves.name, others[0], now=now)
    return saved.version


def _pointer(c: Console, p: Principal, serves: Serves) -> Served | None:
    with c.database.reading() as s:
        return served_by(s, p.tenant_id, ServedKind(serves.kind.value), serves.name)


def _swap(c: Console, p: Principal, swap_id: str) -> Swap | None:
    if not swap_id:
        return None
    with c.database.reading() as s:
        return get_swap(s, p.tenant_id, swap_id)


def _swapped_since(experiment: Experiment, serves: Serves) -> ConflictError:
    return ConflictError(
        f"«{serves.name}» was swapped again since «{experiment.id}» was promoted.",
        "Going back would undo that swap and not this one.",
        "Swap to the version that you want.",
    )
