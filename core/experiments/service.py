"""The verbs of experiments. No function commits; time is an argument; the caller has checked who may do it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError
from core.experiments.advise import advise
from core.experiments.checks import check_share
from core.experiments.drafts import experiment_of
from core.experiments.impressions import (
    assign_variant,
    claim,
    impression_of,
    record_impression,
    record_impressions,
)
from core.experiments.judge import evaluate, get_experiment_results
from core.experiments.lookup import get_experiment
from core.experiments.promotions import check_not_promoting
from core.experiments.records import (
    Automatic,
    Experiment,
    ExperimentDraft,
    Pinned,
    State,
    check_transition,
)
from core.experiments.store import experiments as store
from core.experiments.store import impressions as impressions_store
from core.experiments.store import units as units_store

__all__ = [
    "advise",
    "archive_experiment",
    "assign_variant",
    "change_experiment",
    "claim",
    "create_experiment",
    "evaluate",
    "get_experiment",
    "get_experiment_results",
    "impression_of",
    "is_waiting",
    "list_experiments",
    "pause_experiment",
    "raise_share",
    "record_impression",
    "record_impressions",
    "resume_experiment",
    "running_anywhere",
    "settle",
    "start_experiment",
    "stop_experiment",
    "tick",
]

ACTIVE = (State.RUNNING, State.PAUSED)
HOLDING = (State.DRAFT, *ACTIVE)  # those that keep their part of a namespace
LISTED = tuple(state for state in State if state is not State.ARCHIVED)
MAX_REASON = 1000


def create_experiment(
    s: Session, tenant_id: str, draft: ExperimentDraft, *, created_by: str, now: datetime
) -> Experiment:
    """Write a draft down. Nothing runs yet. Raises InvalidInputError, ConflictError (its id, room in the namespace)."""
    neighbours = _neighbours(s, tenant_id, draft)
    experiment = experiment_of(draft, tenant_id, neighbours, created_by=created_by, now=now)
    store.add(s, experiment)
    return experiment


def change_experiment(
    s: Session, tenant_id: str, experiment_id: str, draft: ExperimentDraft, *, now: datetime
) -> Experiment:
    """Put another plan in place of a draft's. Raises NotFoundError, InvalidInputError, ConflictError once it started."""
    before = get_experiment(s, tenant_id, experiment_id)
    if before.state is not State.DRAFT:
        raise ConflictError(
            f"The plan of «{before.id}» cannot be changed any more.",
            "It was fixed when the experiment started: a plan that follows the numbers proves nothing.",
            "Stop it and create another one; the share of the traffic may be raised.",
        )
    if draft.id not in (None, before.id):
        raise InvalidInputError("An experiment keeps its id.", f"It is {before.id}.", "Leave the id out.")
    neighbours = [each for each in _neighbours(s, tenant_id, draft) if each.id != before.id]
    wanted = draft.model_copy(update={"id": before.id})
    after = experiment_of(wanted, tenant_id, neighbours, created_by=before.created_by, now=now)
    return store.change(s, before, replace(after, created_at=before.created_at))


def list_experiments(
    s: Session,
    tenant_id: str,
    *,
    include_archived: bool = False,
    states: Sequence[State] | None = None,
    limit: int | None = None,
) -> list[Experiment]:
    """Newest first, at most `limit`: all, or those in these states."""
    return store.list_all(s, tenant_id, states or (tuple(State) if include_archived else LISTED), limit)


def running_anywhere(s: Session) -> list[tuple[str, str]]:
    """Tenant and id of all experiments that run, for whoever keeps them going."""
    return store.running_anywhere(s)


def start_experiment(
    s: Session, tenant_id: str, experiment_id: str, pinned: Mapping[str, Pinned], *, now: datetime
) -> Experiment:
    """Start it now, or for the moment that it names. `pinned`: what each arm is made of, found by the caller.

    From here on its plan is fixed. Raises NotFoundError, IllegalTransitionError, InvalidInputError (its end has come),
    ConflictError (another one took its part of the namespace).
    """
    before = get_experiment(s, tenant_id, experiment_id)
    check_transition(before.state, State.RUNNING)
    if before.state is State.PAUSED:
        raise ConflictError("It was started already.", "It is paused.", "Resume it.")
    _check_end(before, now)
    _check_room(s, before)
    arms = tuple(
        replace(
            arm,
            pinned=pinned[arm.id].composition,
            digest=pinned[arm.id].digest,
            label=arm.label or pinned[arm.id].label,
        )
        for arm in before.arms
    )
    begun = now if before.starts_at is None or before.starts_at <= now else None
    after = replace(before, state=State.RUNNING, arms=arms, started_at=now, begun_at=begun, reason="")
    return store.change(s, before, after)


def pause_experiment(
    s: Session, tenant_id: str, experiment_id: str, *, reason: str = "", now: datetime
) -> Experiment:
    """Everybody gets the control and nothing more is counted, until it is resumed."""
    return _move(s, tenant_id, experiment_id, State.PAUSED, reason, now)


def resume_experiment(s: Session, tenant_id: str, experiment_id: str, *, now: datetime) -> Experiment:
    """Go on: every unit gets the arm that it had. Raises IllegalTransitionError unless it is paused."""
    before = get_experiment(s, tenant_id, experiment_id)
    if before.state is not State.PAUSED:
        raise ConflictError(f"«{before.id}» is not paused.", f"It is {before.state}.", "Look at it again.")
    _check_end(before, now)
    return store.change(s, before, replace(before, state=State.RUNNING, reason=""))


def stop_experiment(
    s: Session, tenant_id: str, experiment_id: str, *, reason: str = "", now: datetime
) -> Experiment:
    """End it. Its numbers stay; what comes later is refused."""
    return _move(s, tenant_id, experiment_id, State.STOPPED, reason, now)


def raise_share(s: Session, tenant_id: str, experiment_id: str, share: float, *, now: datetime) -> Experiment:
    """Let more units in; none of those inside moves. Raises InvalidInputError, ConflictError for a share that falls."""
    check_share(share)
    before = get_experiment(s, tenant_id, experiment_id)
    if before.state not in HOLDING:
        raise ConflictError(f"«{before.id}» is over.", f"It is {before.state}.", "Create another one.")
    if share < before.share_at(now) and before.state is not State.DRAFT:
        raise ConflictError(
            f"The share of «{before.id}» cannot fall from {before.share_at(now):g} to {share:g}.",
            "Units would leave an arm that they know, and count as seen in two.",
            "Pause it, or stop it.",
        )
    return store.change(s, before, replace(before, share=share))


def settle(
    s: Session,
    tenant_id: str,
    experiment_id: str,
    state: State,
    *,
    arm_id: str | None,
    reason: str,
    swap_id: str = "",
    now: datetime,
) -> Experiment:
    """Note that an arm was promoted, or that it was rolled back to the control. Ends it, if it still ran.

    Raises NotFoundError, IllegalTransitionError, InvalidInputError for an arm that is not there.
    """
    before = get_experiment(s, tenant_id, experiment_id)
    check_transition(before.state, state)
    if state is not State.PROMOTED:
        check_not_promoting(before)
    if arm_id is not None and before.arm(arm_id) is None:
        raise InvalidInputError(
            f"There is no variant «{arm_id[:80]}» in this experiment.", "", "Name one of its own."
        )
    after = replace(
        before,
        state=state,
        settled_arm=arm_id,
        reason=reason[:MAX_REASON],
        swap_id=swap_id or before.swap_id,
        stopped_at=before.stopped_at or now,
    )
    return store.change(s, before, after)


def archive_experiment(s: Session, tenant_id: str, experiment_id: str, *, now: datetime) -> Experiment:
    """Put it away: its sums and its history stay, the single requests and units are forgotten."""
    check_not_promoting(get_experiment(s, tenant_id, experiment_id))
    moved = _move(s, tenant_id, experiment_id, State.ARCHIVED, "", now)
    impressions_store.delete_all(s, tenant_id, experiment_id)
    units_store.delete_all(s, tenant_id, experiment_id)
    return moved


def is_waiting(s: Session, tenant_id: str, experiment_id: str) -> bool:
    """Whether an experiment has anything to do before somebody looks: impressions to fold, a start or an end to come, or
    a verdict to act on."""
    found = store.get(s, tenant_id, experiment_id)
    if found is None or found.state is not State.RUNNING:
        return False
    timed = found.automatic is not Automatic.OFF or found.ends_at is not None or found.begun_at is None
    return timed or impressions_store.has_unfolded(s, tenant_id, experiment_id)


def tick(s: Session, tenant_id: str, experiment_id: str, *, now: datetime) -> Experiment | None:
    """Begin one whose start has come; end one whose end has. Answers the one that ended, else None."""
    before = store.get(s, tenant_id, experiment_id)
    if before is None or before.state is not State.RUNNING:
        return None
    if before.is_over(now):
        return _move(s, tenant_id, experiment_id, State.STOPPED, "Its end has come.", now)
    if before.begun_at is None and before.is_open(now):
        store.change(s, before, replace(before, begun_at=now))
    return None


def _move(
    s: Session, tenant_id: str, experiment_id: str, state: State, reason: str, now: datetime
) -> Experiment:
    before = get_experiment(s, tenant_id, experiment_id)
    check_transition(before.state, state)
    stopped = before.stopped_at or (now if state is not State.PAUSED else None)
    return store.change(
        s,
        before,
        replace(before, state=state, reason=reason[:MAX_REASON] or before.reason, stopped_at=stopped),
    )


def _neighbours(s: Session, tenant_id: str, draft: ExperimentDraft) -> list[Experiment]:
    if draft.namespace is None:
        return []
    return store.of_namespace(s, tenant_id, draft.namespace, HOLDING)


def _check_end(experiment: Experiment, now: datetime) -> None:
    if experiment.is_over(now):
        raise InvalidInputError(
            f"The end of «{experiment.id}» has come.",
            f"It is {experiment.ends_at.isoformat() if experiment.ends_at else ''}.",
            "Give it a later end, or create another one.",
        )


def _check_room(s: Session, experiment: Experiment) -> None:
    """Two that were created at once may have been given the same part."""
    low, high = experiment.slots
    for other in store.of_namespace(s, experiment.tenant_id, experiment.namespace, HOLDING):
        overlap = other.slots[0] < high - 1e-12 and low < other.slots[1] - 1e-12
        if other.id != experiment.id and other.state in ACTIVE and overlap:
            raise ConflictError(
                f"«{other.id}» has the same part of the namespace «{experiment.namespace}».",
                "Both were created at the same time.",
                "Save this draft again: it gets another part.",
            )
