"""Who gets what, asked by id, and what came of it, written down."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.experiments.assign import Assigner, unit_key, unit_of
from core.experiments.checks import check_impression, check_shares_are_shares
from core.experiments.fold import shadow_key
from core.experiments.records import (
    ENDED,
    Assignment,
    Experiment,
    Impression,
    Recorded,
    State,
    Strategy,
)
from core.experiments.store import experiments as store
from core.experiments.store import impressions as impressions_store
from core.storage.ids import new_id

SEGMENTS = ("task", "retailer", "brand")
MOST_SEGMENTS = 8
MOST_LETTERS = 80
MAX_EVENT = 180
MAX_UNIT = 200


def assign_variant(
    s: Session,
    tenant_id: str,
    experiment_id: str,
    user_id: str,
    context: Mapping[str, str] | None = None,
    *,
    now: datetime,
) -> Assignment:
    """The arm of a user, who counts as exposed from the first time on. Raises NotFoundError, InvalidInputError."""
    experiment = _experiment(s, tenant_id, experiment_id)
    _check_unit(user_id)
    unit, independent = unit_of(user_id, None, user_id, experiment.unit)
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
    if not impressions_store.add(s, experiment.tenant_id, experiment.id, [exposure]):
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
    now: datetime,
) -> Recorded:
    """Write down what came of one request. The same `event_id` again changes nothing.

    Without `user_id` the request is a unit of its own. In a shadow experiment `event_id` names the request that all arms
    answered. Raises NotFoundError, ConflictError (not started, or over), InvalidInputError.
    """
    experiment = _experiment(s, tenant_id, experiment_id)
    if user_id is not None:
        _check_unit(user_id)
    event_id = event_id or new_id("evt")
    impression = impression_of(
        experiment,
        variant_id,
        event_id=event_id,
        user_id=user_id,
        session_id=None,
        at=now,
        success=success,
        latency_ms=latency_ms,
        feedback_score=feedback_score,
        metrics=metrics or {},
        context=context or {},
    )
    replayed = record_impressions(s, experiment, [impression])
    return Recorded(event_id, bool(replayed))


def record_impressions(
    s: Session, experiment: Experiment, impressions: Sequence[Impression], *, under_way: bool = False
) -> set[str]:
    """Write several down, all or none. Answers the events that were recorded before. `under_way`: they may have waited
    while the experiment ended, so those of before its end still count and the others are left out.

    Raises ConflictError (not started, or over), InvalidInputError.
    """
    if under_way and experiment.state in ENDED and experiment.stopped_at is not None:
        impressions = [each for each in impressions if each.at <= experiment.stopped_at]
    elif experiment.state is State.DRAFT or experiment.state in ENDED:
        raise ConflictError(
            f"«{experiment.id}» counts nothing now.",
            f"It is {experiment.state.replace('_', ' ')}.",
            "Start it first." if experiment.state is State.DRAFT else "Its numbers are final.",
        )
    arms = [arm.id for arm in experiment.arms]
    for impression in impressions:
        check_impression(impression, arms)
        check_shares_are_shares(experiment.plan, impression)
    return impressions_store.add(s, experiment.tenant_id, experiment.id, impressions)


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
    if not 0 < len(event_id) <= MAX_EVENT:
        raise InvalidInputError(
            "The event id is not valid.", f"It has 1 to {MAX_EVENT} letters.", "Correct it."
        )
    unit, independent = unit_of(user_id, session_id, event_id, experiment.unit)
    key, event = unit_key(experiment.salt, unit), f"event:{event_id}"
    if experiment.shadow:
        arm = next((i for i, each in enumerate(experiment.arms) if each.id == variant_id), 0)
        key, event = shadow_key(key, arm), f"event:{event_id}:{variant_id}"
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


def _experiment(s: Session, tenant_id: str, experiment_id: str) -> Experiment:
    found = store.get(s, tenant_id, experiment_id)
    if found is None:
        raise NotFoundError(
            f"There is no experiment «{experiment_id[:80]}».",
            "Nothing here has this id.",
            "List the experiments.",
        )
    return found


def _check_unit(user_id: str) -> None:
    if not 0 < len(user_id) <= MAX_UNIT:
        raise InvalidInputError(
            "The user id is not valid.", f"It has 1 to {MAX_UNIT} letters.", "Correct it."
        )
