"""What an experiment has shown becomes what serves, or goes back to what served: by hot swap, and audited.

The state is written before the swap, so that of two processes that come to the same verdict one acts. A swap that fails
leaves the control serving and the experiment stopped, with the reason.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app.actions import compositions
from app.bootstrap import Console
from core.compose import service as compose
from core.compose.records import CompositionSpec
from core.compose.swap_records import ServedKind
from core.errors import ConflictError, RmnError
from core.experiments import service
from core.experiments.plan import Verdict
from core.experiments.records import (
    Arm,
    Automatic,
    Experiment,
    Serves,
    ServesKind,
    State,
    check_transition,
)
from core.registry import service as registry
from core.tenants import audit
from core.tenants.records import Permission, Principal, Role

LOG = structlog.get_logger(__name__)


def promote(c: Console, p: Principal, experiment_id: str, arm_id: str | None = None) -> Experiment:
    """Let an arm serve; left out, the one that has won. Raises NotFoundError, ConflictError, InvalidInputError."""
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.transaction() as s:
        results = service.get_experiment_results(s, p.tenant_id, experiment_id, now=c.clock())
        experiment = results.experiment
        check_transition(experiment.state, State.PROMOTED)
        if arm_id is None and results.winner in (None, experiment.control.id):
            raise ConflictError(
                f"No variant of «{experiment.id}» has won.",
                results.decision.reason,
                "Name the variant to promote it all the same.",
            )
        chosen = experiment.arm(arm_id or results.winner or "")
        if chosen is None or chosen is experiment.control:
            raise ConflictError(
                f"«{(arm_id or '')[:80]}» cannot be promoted.",
                "It is the control, which serves already, or no variant of this experiment.",
                "Name another variant, or roll back.",
            )
        if chosen.pinned is None:
            raise ConflictError(f"«{experiment.id}» was never started.", "", "Start it first.")
        reason = f"Promoting «{chosen.id}»."
        if experiment.state in (State.RUNNING, State.PAUSED):
            service.stop_experiment(s, p.tenant_id, experiment.id, reason=reason, now=c.clock())
        _note(
            c, s, p, "experiment.promoting", experiment, arm=chosen.id, verdict=results.decision.verdict.value
        )
    c.variants.forget(p.tenant_id)
    swapped = {} if experiment.serves is None else _swap(c, p, experiment, chosen, experiment.serves)
    return _settle(c, p, experiment.id, State.PROMOTED, chosen.id, f"«{chosen.id}» was promoted.", swapped)


def roll_back(c: Console, p: Principal, experiment_id: str, reason: str = "") -> Experiment:
    """The control serves: end the experiment, and undo the swap of one that was promoted. Raises NotFoundError,
    ConflictError."""
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.reading() as s:
        experiment = service.get_experiment(s, p.tenant_id, experiment_id)
    check_transition(experiment.state, State.ROLLED_BACK)
    swapped: dict[str, Any] = {}
    if experiment.state is State.PROMOTED and experiment.serves is not None:
        swapped = _swap_back(c, p, experiment, experiment.serves)
    told = reason or f"Rolled back to «{experiment.control.id}»."
    return _settle(c, p, experiment.id, State.ROLLED_BACK, experiment.control.id, told, swapped)


def act(c: Console, experiment: Experiment) -> Experiment | None:
    """What an experiment asks to be done by itself once its verdict is there. None: nothing is to be done.

    Never raises what the swap may raise: it is audited, and the control goes on serving.
    """
    reached = experiment.reached
    if reached is None or experiment.state is not State.RUNNING:
        return None
    system = Principal(experiment.tenant_id, "", f"experiment {experiment.id}", Role.TRAINER)
    try:
        if reached.verdict is Verdict.SHIP and experiment.automatic in (Automatic.PROMOTE, Automatic.BOTH):
            return promote(c, system, experiment.id, reached.winner)
        if reached.verdict is Verdict.ROLLBACK and experiment.automatic in (
            Automatic.ROLLBACK,
            Automatic.BOTH,
        ):
            return roll_back(c, system, experiment.id, reached.reason)
    except RmnError as error:
        LOG.warning("experiment.not_settled", experiment_id=experiment.id, reason=str(error))
        with c.database.transaction() as s:
            detail = {"verdict": reached.verdict.value, "reason": str(error)[:500]}
            _note(c, s, system, "experiment.not_settled", experiment, **detail)
    return None


def _swap(c: Console, p: Principal, experiment: Experiment, arm: Arm, serves: Serves) -> dict[str, Any]:
    """Let the name mean the arm. Answers what is told in the audit log."""
    try:
        version = _version(c, p, experiment, arm, serves)
        swap = compositions.swap(c, p, ServedKind(serves.kind.value), serves.name, version)
    except RmnError as error:
        with c.database.transaction() as s:
            _note(c, s, p, "experiment.promotion_failed", experiment, arm=arm.id, reason=str(error)[:500])
        raise
    return {"swap": swap.id, "version": version}


def _swap_back(c: Console, p: Principal, experiment: Experiment, serves: Serves) -> dict[str, Any]:
    newest = compositions.list_swaps(c, p, name=serves.name, limit=1)
    if not newest or newest[0].id != experiment.swap_id:
        raise ConflictError(
            f"«{serves.name}» was swapped again since «{experiment.id}» was promoted.",
            "Going back would undo that swap and not this one.",
            "Swap to the version that you want.",
        )
    swap = compositions.roll_back(c, p, ServedKind(serves.kind.value), serves.name)
    return {"swap": swap.id}


def _version(c: Console, p: Principal, experiment: Experiment, arm: Arm, serves: Serves) -> int:
    """The version of the name that is this arm; a federation gets one where there is none yet."""
    pinned: Mapping[str, Any] = arm.pinned or {}
    spec = CompositionSpec.model_validate(dict(pinned))
    if serves.kind is ServesKind.ADAPTER:
        with c.database.reading() as s:
            only = (
                registry.get_adapter(s, p.tenant_id, spec.terms[0].adapter) if len(spec.terms) == 1 else None
            )
        plain = only is not None and spec == compose.single(only)
        if only is None or not plain or only.name != serves.name:
            raise ConflictError(
                f"The variant «{arm.id}» is no version of the adapter «{serves.name}».",
                "A swap changes which version of one name answers.",
                "Promote it by hand: save it as a federation, and let that serve.",
            )
        return only.version
    named = arm.composition.get("model")
    with c.database.reading() as s:
        found = compose.find_federation(s, p.tenant_id, str(named)) if named else None
    if found is not None and found.name == serves.name:
        return found.version
    told = f"Variant «{arm.id}» of the experiment «{experiment.id}»."
    return compositions.save_federation(c, p, serves.name, told, spec).version


def _settle(
    c: Console,
    p: Principal,
    experiment_id: str,
    state: State,
    arm_id: str,
    reason: str,
    detail: Mapping[str, Any],
) -> Experiment:
    with c.database.transaction() as s:
        settled = service.settle(
            s,
            p.tenant_id,
            experiment_id,
            state,
            arm_id=arm_id,
            reason=reason,
            swap_id=str(detail.get("swap", "")),
            now=c.clock(),
        )
        action = "experiment.promoted" if state is State.PROMOTED else "experiment.rolled_back"
        _note(c, s, p, action, settled, arm=arm_id, reason=settled.reason, **detail)
    c.variants.forget(p.tenant_id)
    return settled


def _note(c: Console, s: Session, p: Principal, action: str, experiment: Experiment, **detail: Any) -> None:
    audit.append(
        s,
        tenant_id=p.tenant_id,
        actor=p.actor,
        action=action,
        subject=experiment.id,
        detail={"name": experiment.name, **detail},
        now=c.clock(),
    )
