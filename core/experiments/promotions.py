"""A promotion on its way: begun, and ended by `service.settle` or given up. Between the two a process may die.

That it was begun is written before anything serves: the experiment is stopped, and names the arm. Whoever finds one that
has not ended may take it up again.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import ConflictError
from core.experiments.records import Experiment, State, check_transition
from core.experiments.store import experiments as store

MAX_REASON = 1000


def begin(s: Session, before: Experiment, arm_id: str, *, now: datetime) -> Experiment:
    """End the experiment, and write down which arm is to serve. Nothing serves it yet.

    Raises IllegalTransitionError, and ConflictError while another arm is being promoted.
    """
    check_transition(before.state, State.PROMOTED)
    if before.promoting == arm_id:
        return before
    check_not_promoting(before)
    after = replace(
        before,
        state=State.STOPPED,
        settled_arm=arm_id,
        reason=f"Promoting «{arm_id}».",
        stopped_at=before.stopped_at or now,
    )
    return store.change(s, before, after)


def give_up(s: Session, tenant_id: str, experiment_id: str, arm_id: str, *, reason: str) -> Experiment | None:
    """The arm does not serve, and why. None: its promotion has ended already."""
    before = store.get(s, tenant_id, experiment_id)
    if before is None or before.promoting != arm_id:
        return None
    return store.change(s, before, replace(before, settled_arm=None, reason=reason[:MAX_REASON]))


def hold(s: Session, experiment: Experiment) -> None:
    """Let another process that takes up the same promotion wait until this transaction has ended."""
    store.hold(s, experiment.tenant_id, experiment.id)


def promoting_anywhere(s: Session) -> list[tuple[str, str]]:
    """Tenant and id of all whose promotion was begun and has not ended."""
    return store.promoting_anywhere(s)


def check_not_promoting(experiment: Experiment) -> None:
    """Raise ConflictError while an arm is being promoted."""
    if experiment.promoting:
        raise ConflictError(
            f"«{experiment.promoting}» of «{experiment.id}» is being promoted.",
            "It serves within seconds, or the reason why it does not is told.",
            "Wait until that has ended.",
        )
