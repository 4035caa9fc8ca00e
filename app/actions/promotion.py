"""What an experiment has shown becomes what serves, or goes back to what served: by hot swap, and audited.

A promotion is checked, written down (the experiment is stopped and names the arm), swapped, and settled. Of two processes
that come to the same verdict one begins it; one that dies on the way leaves what `take_up` finds. Until the swap has
passed its canary the control serves; when it fails, the experiment stays stopped, with the reason.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app import arms
from app.actions import arm_swaps
from app.actions.audit import note
from app.bootstrap import Console
from core.errors import ConflictError, RmnError
from core.experiments import promotions, service
from core.experiments.plan import Verdict
from core.experiments.records import Arm, Automatic, Experiment, State, check_transition
from core.experiments.results import ExperimentResults
from core.tenants.records import Permission, Principal, Role

LOG = structlog.get_logger(__name__)


def promote(c: Console, p: Principal, experiment_id: str, arm_id: str | None = None) -> Experiment:
    """Let an arm serve; left out, the one that has won. What cannot be promoted is refused before the experiment ends.

    Raises NotFoundError, ConflictError, InvalidInputError; UnavailableError when the arm fails its canary.
    """
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.transaction() as s:
        results = service.get_experiment_results(s, p.tenant_id, experiment_id, now=c.clock())
        experiment = results.experiment
        check_transition(experiment.state, State.PROMOTED)
        chosen = _chosen(results, arm_id)
        _check(c, s, experiment, chosen)
        begun = promotions.begin(s, experiment, chosen.id, now=c.clock())
        if begun is not experiment:
            detail = {"arm": chosen.id, "verdict": results.decision.verdict.value}
            note_experiment(c, s, p, "experiment.promoting", experiment, **detail)
    c.variants.forget(p.tenant_id)
    return _go_on(c, p, begun, chosen)


def take_up(c: Console, tenant_id: str, experiment_id: str) -> Experiment | None:
    """Go on with a promotion that was begun and has not ended: its process died. None: there is nothing to do, or its
    swap is under way. Raises as `promote`; then it has been given up, with the reason."""
    with c.database.reading() as s:
        experiment = service.get_experiment(s, tenant_id, experiment_id)
    arm = experiment.arm(experiment.promoting or "")
    if arm is None or arm_swaps.is_under_way(c, tenant_id, experiment.serves):
        return None
    return _go_on(c, _system(experiment), experiment, arm)


def roll_back(c: Console, p: Principal, experiment_id: str, reason: str = "") -> Experiment:
    """The control serves: end the experiment, and undo the swap of one that was promoted. Raises NotFoundError,
    ConflictError."""
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.reading() as s:
        experiment = service.get_experiment(s, p.tenant_id, experiment_id)
        check_transition(experiment.state, State.ROLLED_BACK)
        promotions.check_not_promoting(experiment)
        if experiment.state is State.PROMOTED and experiment.serves is None:
            control = experiment.control
            arms.check_unchanged(c, s, p.tenant_id, control.id, arm_swaps.pinned_of(control))
    swapped = arm_swaps.go_back(c, p, experiment) if experiment.state is State.PROMOTED else {}
    told = reason or f"Rolled back to «{experiment.control.id}»."
    return _settle(c, p, experiment.id, State.ROLLED_BACK, experiment.control.id, told, swapped)


def act(c: Console, experiment: Experiment) -> Experiment | None:
    """What an experiment asks to be done by itself once its verdict is there. None: nothing is to be done.

    Never raises what the swap may raise: it is audited, the experiment ends with it as its reason, and the control
    serves.
    """
    reached = experiment.reached
    if reached is None or experiment.state is not State.RUNNING:
        return None
    system = _system(experiment)
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
        _not_settled(c, system, experiment, str(error))
    return None


def _chosen(results: ExperimentResults, arm_id: str | None) -> Arm:
    """The arm that is to serve. Raises ConflictError."""
    experiment = results.experiment
    named = arm_id or experiment.promoting
    if named is None and results.winner in (None, experiment.control.id):
        raise ConflictError(
            f"No variant of «{experiment.id}» has won.",
            results.decision.reason,
            "Name the variant to promote it all the same.",
        )
    chosen = experiment.arm(named or results.winner or "")
    if chosen is None or chosen is experiment.control:
        raise ConflictError(
            f"«{(named or '')[:80]}» cannot be promoted.",
            "It is the control, which serves already, or no variant of this experiment.",
            "Name another variant, or roll back.",
        )
    if chosen.pinned is None:
        raise ConflictError(f"«{experiment.id}» was never started.", "", "Start it first.")
    return chosen


def _check(c: Console, s: Session, experiment: Experiment, arm: Arm) -> None:
    """Raise ConflictError unless the arm is still what was tested, and the name can mean it."""
    pinned = arm_swaps.pinned_of(arm)
    arms.check_unchanged(c, s, experiment.tenant_id, arm.id, pinned)
    if experiment.serves is not None:
        arms.version_of(c, s, experiment.tenant_id, experiment.serves, arm.id, pinned)


def _go_on(c: Console, p: Principal, experiment: Experiment, arm: Arm) -> Experiment:
    """Everything after the promotion was written down. May be done again from the beginning at any point."""
    try:
        with c.database.reading() as s:
            _check(c, s, experiment, arm)
        swapped = arm_swaps.let_serve(c, p, experiment, arm)
    except Exception as error:
        # Of two that take it up at once the second meets the first one's swap, which goes on.
        if not arm_swaps.is_under_way(c, p.tenant_id, experiment.serves):
            _give_up(c, p, experiment, arm, str(error) if isinstance(error, RmnError) else repr(error))
        raise
    told = f"«{arm.id}» was promoted."
    return _settle(c, p, experiment.id, State.PROMOTED, arm.id, told, swapped)


def _give_up(c: Console, p: Principal, experiment: Experiment, arm: Arm, cause: str) -> None:
    with c.database.transaction() as s:
        reason = f"«{arm.id}» could not be promoted: {cause}"
        if promotions.give_up(s, p.tenant_id, experiment.id, arm.id, reason=reason) is not None:
            note_experiment(
                c, s, p, "experiment.promotion_failed", experiment, arm=arm.id, reason=cause[:500]
            )


def _not_settled(c: Console, p: Principal, seen: Experiment, cause: str) -> None:
    """What could not be done by itself is not tried for ever: the experiment ends, and says why."""
    with c.database.transaction() as s:
        found = service.get_experiment(s, p.tenant_id, seen.id)
        by_another = found.promoting or (found.state is State.RUNNING and found.revision != seen.revision)
        if by_another or found.state not in (State.RUNNING, State.STOPPED) or seen.reached is None:
            return
        if found.state is State.RUNNING:
            wanted = f"«{seen.reached.winner}» has won and could not be promoted"
            if seen.reached.verdict is Verdict.ROLLBACK:
                wanted = "It could not be rolled back"
            service.stop_experiment(s, p.tenant_id, seen.id, reason=f"{wanted}: {cause}", now=c.clock())
        detail = {"verdict": seen.reached.verdict.value, "reason": cause[:500]}
        note_experiment(c, s, p, "experiment.not_settled", seen, **detail)
    c.variants.forget(p.tenant_id)


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
        found = service.get_experiment(s, p.tenant_id, experiment_id)
        if found.state is state and found.settled_arm == arm_id:  # another process was first
            return found
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
        note_experiment(c, s, p, action, settled, arm=arm_id, reason=settled.reason, **detail)
    c.variants.forget(p.tenant_id)
    return settled


def _system(experiment: Experiment) -> Principal:
    return Principal(experiment.tenant_id, "", f"experiment {experiment.id}", Role.TRAINER)


def note_experiment(
    c: Console, s: Session, p: Principal, action: str, experiment: Experiment, **detail: Any
) -> None:
    """Into the audit log, with the experiment's name."""
    note(c, s, p, action, experiment.id, name=experiment.name, **detail)
