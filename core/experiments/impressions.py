"""Who gets what, asked by id, and what came of it, written down."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError
from core.experiments.assign import Assigner, unit_key, unit_of
from core.experiments.checks import check_impression, check_shares_are_shares
from core.experiments.fold import shadow_key
from core.experiments.lookup import get_experiment
from core.experiments.records import (
    ENDED,
    Assignment,
    Experiment,
    Impression,
    Outside,
    Recorded,
    State,
    Strategy,
    UnitKind,
)
from core.experiments.store import impressions as impressions_store
from core.storage.ids import new_id
from core.storage.text import storable

SEGMENTS = ("task", "retailer", "brand")
MOST_SEGMENTS = 8
MOST_LETTERS = 80
MAX_EVENT = 180
MAX_UNIT = 200
MAX_STORED_EVENT = 200
OF_A_REQUEST = re.compile(r"event:req_[0-9a-z]{26}(:.*)?")  # what an answer is recorded under
WHY_OUTSIDE = {
    Outside.NOT_TARGETED: "Its context is not targeted",
    Outside.OTHER_EXPERIMENT: "It belongs to another experiment of the namespace",
    Outside.HELD_OUT: "It is held out of the namespace",
    Outside.NOT_IN_RAMP: "It is outside of the share of the traffic that takes part",
}


def assign_variant(
    s: Session,
    tenant_id: str,
    experiment_id: str,
    user_id: str | None,
    context: Mapping[str, str] | None = None,
    *,
    session_id: str | None = None,
    event_id: str | None = None,
    now: datetime,
) -> Assignment:
    """The arm of a unit, which counts as exposed from the first time on: of the user, the session or the event, as the
    experiment's `unit` says and as its impressions name it. Raises NotFoundError, InvalidInputError."""
    experiment = get_experiment(s, tenant_id, experiment_id)
    for name in (user_id, session_id):
        if name is not None:
            _check_unit(name)
    unit, independent = unit_of(user_id, session_id, event_id or "", experiment.unit)
    if independent:
        if event_id is None:
            raise _nobody_named(experiment)
        _check_event(event_id)
    found = Assigner(experiment, now).assign(unit, context or {}, now)
    if found.variant is None or experiment.shadow:
        return found
    return claim(s, experiment, unit, found, context or {}, independent=independent, now=now)


def claim(
    s: Session,
    experiment: Experiment,
    unit: str,
    found: Assignment,
    context: Mapping[str, str],
    *,
    independent: bool,
    now: datetime,
) -> Assignment:
    """Note that a unit was given an arm, once. Answers what it was given first: a bandit's shares move, its units do not."""
    if found.variant is None:
        return found
    key = unit_key(experiment.salt, unit)
    exposure = Impression(
        event_id=f"exposure:{key}",
        variant=found.variant,
        unit=key,
        at=now,
        segment=segment_of(experiment, context),
        propensity=found.propensity,
        independent=independent,
        exposure=True,
    )
    if not impressions_store.add(s, experiment.tenant_id, experiment.id, [exposure], experiment.plan):
        return found
    if experiment.strategy is not Strategy.BANDIT:
        return found
    first = impressions_store.of_event(s, experiment.tenant_id, experiment.id, exposure.event_id)
    if first is None:
        return found
    return Assignment(experiment.id, first.variant, propensity=first.propensity)


def record_impression(
    s: Session,
    tenant_id: str,
    experiment_id: str,
    variant_id: str,
    success: bool | None,
    latency_ms: float | None = None,
    feedback_score: float | None = None,
    user_id: str | None = None,
    event_id: str | None = None,
    metrics: Mapping[str, float] | None = None,
    context: Mapping[str, str] | None = None,
    *,
    session_id: str | None = None,
    now: datetime,
) -> Recorded:
    """Write down what came of one request. The same `event_id` again adds what is not there yet and changes nothing.

    Without `user_id` and `session_id` the request is a unit of its own. In a shadow experiment `event_id` names the
    request that all arms answered. A unit that takes no part now (paused, over, not begun, not targeted, held out) counts
    only where it was given an arm before. Raises NotFoundError, ConflictError, InvalidInputError.
    """
    experiment = get_experiment(s, tenant_id, experiment_id)
    for name in (user_id, session_id):
        if name is not None:
            _check_unit(name)
    event_id = event_id or new_id("evt")
    impression = impression_of(
        experiment,
        variant_id,
        event_id=event_id,
        user_id=user_id,
        session_id=session_id,
        at=now,
        success=success,
        latency_ms=latency_ms,
        feedback_score=feedback_score,
        metrics=metrics or {},
        context=context or {},
    )
    unit, _ = unit_of(user_id, session_id, event_id, experiment.unit)
    _check_takes_part(s, experiment, impression, unit, context or {})
    replayed = record_impressions(s, experiment, [impression])
    arm = experiment.arm(variant_id)
    judged = arm is None or experiment.shadow or arm.weight > 0
    note = "" if judged else f"«{arm.id if arm else ''}» has weight 0: it is shown, and not judged."
    return Recorded(event_id, bool(replayed), note)


def record_impressions(
    s: Session, experiment: Experiment, impressions: Sequence[Impression], *, under_way: bool = False
) -> set[str]:
    """Write several down, all or none. Answers the events that were recorded before and to which nothing was added.
    `under_way`: they are what answers of arms tell of themselves, which may have waited while the experiment was paused
    or ended: those of before its end still count and the others are left out. Of others, while the experiment is not
    open, only those count whose unit was given an arm before.

    Raises ConflictError (not started, not open, or over), InvalidInputError.
    """
    if under_way and experiment.state in ENDED and experiment.stopped_at is not None:
        impressions = [each for each in impressions if each.at <= experiment.stopped_at]
    elif experiment.state is State.DRAFT or experiment.state in ENDED:
        raise ConflictError(
            f"«{experiment.id}» counts nothing now.",
            f"It is {experiment.state.replace('_', ' ')}.",
            "Start it first." if experiment.state is State.DRAFT else "Its numbers are final.",
        )
    held: set[str] = set()
    if not under_way:
        for impression in impressions:
            if not experiment.is_open(impression.at) and not _is_known(s, experiment, impression):
                raise _not_open(experiment)
        held = {each.event_id for each in impressions if OF_A_REQUEST.fullmatch(each.event_id)}
    arms = [arm.id for arm in experiment.arms]
    for impression in impressions:
        check_impression(impression, arms)
        check_shares_are_shares(experiment.plan, impression)
    return impressions_store.add(
        s, experiment.tenant_id, experiment.id, impressions, experiment.plan, measured=under_way, held=held
    )


def impression_of(
    experiment: Experiment,
    variant_id: str,
    *,
    event_id: str,
    user_id: str | None,
    session_id: str | None,
    at: datetime,
    success: bool | None = None,
    latency_ms: float | None = None,
    feedback_score: float | None = None,
    metrics: Mapping[str, float] | None = None,
    context: Mapping[str, str] | None = None,
    propensity: float = 1.0,
    exposure: bool = False,
) -> Impression:
    """An impression with its unit's key. Raises InvalidInputError for an arm or an event that cannot be."""
    _check_event(event_id)
    unit, independent = unit_of(user_id, session_id, event_id, experiment.unit)
    key, event = unit_key(experiment.salt, unit), f"event:{event_id}"
    if experiment.shadow:
        arm = next((i for i, each in enumerate(experiment.arms) if each.id == variant_id), 0)
        key, event = shadow_key(key, arm), f"event:{event_id}:{variant_id}"
        if len(event) > MAX_STORED_EVENT:
            event = f"event:{hashlib.blake2b(event.encode(), digest_size=32).hexdigest()}"
    return Impression(
        event_id=event,
        variant=variant_id,
        unit=key,
        at=at,
        success=success,
        latency_ms=latency_ms,
        feedback_score=feedback_score,
        metrics=metrics or {},
        segment=segment_of(experiment, context or {}),
        propensity=propensity,
        independent=independent,
        exposure=exposure,
    )


def segment_of(experiment: Experiment, context: Mapping[str, str]) -> dict[str, str]:
    """What of a context is kept for the view by segments: task, retailer, brand, and the fields that are targeted."""
    fields = tuple(dict.fromkeys((*SEGMENTS, *experiment.targeting)))[:MOST_SEGMENTS]
    return {field: context[field][:MOST_LETTERS] for field in fields if context.get(field)}


def _check_unit(user_id: str) -> None:
    if not 0 < len(user_id) <= MAX_UNIT:
        raise InvalidInputError(
            "The user id is not valid.", f"It has 1 to {MAX_UNIT} letters.", "Correct it."
        )


def _check_event(event_id: str) -> None:
    if not 0 < len(event_id) <= MAX_EVENT or storable(event_id) != event_id:
        raise InvalidInputError(
            "The event id is not valid.",
            f"It has 1 to {MAX_EVENT} letters; NUL and halves of letters are none.",
            "Correct it.",
        )


def _nobody_named(experiment: Experiment) -> InvalidInputError:
    needed = {
        UnitKind.USER: "`user_id`",
        UnitKind.SESSION: "`session_id`",
        UnitKind.REQUEST: "`event_id`, and send it with the impression, too",
    }
    return InvalidInputError(
        f"«{experiment.id}» assigns by {experiment.unit}, and none is named.",
        "What is assigned and what comes of it have to be of the same unit.",
        f"Give {needed[experiment.unit]}.",
    )


def _is_known(s: Session, experiment: Experiment, impression: Impression) -> bool:
    of = experiment.tenant_id, experiment.id
    return impressions_store.is_known(s, *of, impression.event_id, impression.unit)


def _check_takes_part(
    s: Session, experiment: Experiment, impression: Impression, unit: str, context: Mapping[str, str]
) -> None:
    """Who is not targeted, held out, or not let in yet was given no arm. A request that names nobody may have come any
    way, so that only its context tells."""
    if experiment.state is not State.RUNNING:
        return  # for all of them alike: record_impressions
    outside = Assigner(experiment, impression.at).assign(unit, context, impression.at).outside
    if outside in (None, Outside.NOT_OPEN) or (
        impression.independent and outside is not Outside.NOT_TARGETED
    ):
        return
    if not _is_known(s, experiment, impression):
        raise ConflictError(
            f"This unit takes no part in «{experiment.id}».",
            f"{WHY_OUTSIDE[outside]}, and it was given no variant before." if outside else "",
            "Ask /ab-testing/assign first, and record what comes of the variant that it names.",
        )


def _not_open(experiment: Experiment) -> ConflictError:
    why = "It has not begun." if experiment.is_scheduled else "Its end has come."
    return ConflictError(
        f"«{experiment.id}» counts nothing new now.",
        f"{'It is paused.' if experiment.state is State.PAUSED else why} The unit was given no variant before.",
        "Outcomes of units that were given one before still count; others do while it is open.",
    )
