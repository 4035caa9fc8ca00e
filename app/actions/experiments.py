"""Experiments: create, start, end, ask who gets what, write down what came of it, promote or roll back."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app import arms
from app.actions import experiment_names, promotion
from app.bootstrap import Console
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.experiments import service
from core.experiments.records import (
    Assignment,
    Experiment,
    ExperimentDraft,
    Pinned,
    Recorded,
)
from core.experiments.results import Advice, ExperimentResults
from core.tenants.records import Permission, Principal


def list_experiments(
    c: Console, p: Principal, *, include_archived: bool = False, limit: int | None = None
) -> list[Experiment]:
    """Newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.list_experiments(s, p.tenant_id, include_archived=include_archived, limit=limit)


def get_experiment(c: Console, p: Principal, experiment_id: str) -> Experiment:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.get_experiment(s, p.tenant_id, experiment_id)


def advise(
    c: Console,  # noqa: ARG001 - every action begins with it
    p: Principal,
    draft: ExperimentDraft,
    *,
    baseline: float,
    difference: float,
    units_per_day: float | None = None,
    spread: float | None = None,
    power: float = 0.8,
) -> Advice:
    """Units and days that a draft needs to see a difference. Raises InvalidInputError."""
    p.require(Permission.VIEW)
    return service.advise(
        draft,
        baseline=baseline,
        difference=difference,
        units_per_day=units_per_day,
        spread=spread,
        power=power,
    )


def create_experiment(c: Console, p: Principal, draft: ExperimentDraft) -> Experiment:
    """Keep a draft. Its arms must be able to answer now. Raises InvalidInputError, NotFoundError, ConflictError."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        experiment_names.check_names(c, s, p, draft)
        pinned = _pinned(c, s, p, {arm.id: arm.composition for arm in draft.arms})
        made = service.create_experiment(s, p.tenant_id, draft, created_by=p.actor, now=c.clock())
        experiment_names.check_promotable(c, s, p, made, pinned)
        promotion.note_experiment(c, s, p, "experiment.created", made, arms=[arm.id for arm in made.arms])
    return made


def change_experiment(c: Console, p: Principal, experiment_id: str, draft: ExperimentDraft) -> Experiment:
    """Another plan for a draft. Raises NotFoundError, InvalidInputError, ConflictError once it was started."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        experiment_names.check_names(c, s, p, draft, own=experiment_id)
        changed = service.change_experiment(s, p.tenant_id, experiment_id, draft, now=c.clock())
        pinned = _pinned(c, s, p, {arm.id: arm.composition for arm in draft.arms})
        experiment_names.check_promotable(c, s, p, changed, pinned)
        promotion.note_experiment(c, s, p, "experiment.changed", changed)
    return changed


def start_experiment(c: Console, p: Principal, experiment_id: str) -> Experiment:
    """Pin its arms and start it. Raises NotFoundError, IllegalTransitionError, InvalidInputError, ConflictError."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        draft = service.get_experiment(s, p.tenant_id, experiment_id)
        experiment_names.check_free(c, s, p, draft.id)
        experiment_names.check_served_once(s, p, draft)
        pinned = _pinned(c, s, p, {arm.id: arm.composition for arm in draft.arms})
        experiment_names.check_promotable(c, s, p, draft, pinned)
        started = service.start_experiment(s, p.tenant_id, experiment_id, pinned, now=c.clock())
        digests = {arm.id: arm.digest for arm in started.arms}
        promotion.note_experiment(c, s, p, "experiment.started", started, digests=digests, salt=started.salt)
    c.variants.forget(p.tenant_id)
    return started


def pause_experiment(c: Console, p: Principal, experiment_id: str, reason: str = "") -> Experiment:
    """Everybody gets the control, and nothing is counted, until it is resumed."""
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.transaction() as s:
        paused = service.pause_experiment(s, p.tenant_id, experiment_id, reason=reason, now=c.clock())
        promotion.note_experiment(c, s, p, "experiment.paused", paused, reason=paused.reason)
    c.variants.forget(p.tenant_id)
    return paused


def resume_experiment(c: Console, p: Principal, experiment_id: str) -> Experiment:
    """Go on with the same arms. Raises ConflictError where one of them cannot answer any more, or is not what it was."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        paused = service.get_experiment(s, p.tenant_id, experiment_id)
        found = _pinned(c, s, p, {arm.id: arm.pinned or {} for arm in paused.arms})
        for arm in paused.arms:
            if found[arm.id].digest != arm.digest:
                raise ConflictError(
                    f"The variant «{arm.id}» is not what it was when the experiment started.",
                    "Its numbers would be of two things.",
                    "Stop the experiment and create another one.",
                )
        resumed = service.resume_experiment(s, p.tenant_id, experiment_id, now=c.clock())
        promotion.note_experiment(c, s, p, "experiment.resumed", resumed)
    c.variants.forget(p.tenant_id)
    return resumed


def stop_experiment(c: Console, p: Principal, experiment_id: str, reason: str = "") -> Experiment:
    """End it: what has come is kept, what comes later is refused."""
    p.require(Permission.TRAIN)
    c.impressions.write()
    with c.database.transaction() as s:
        stopped = service.stop_experiment(s, p.tenant_id, experiment_id, reason=reason, now=c.clock())
        promotion.note_experiment(c, s, p, "experiment.stopped", stopped, reason=stopped.reason)
    c.variants.forget(p.tenant_id)
    return stopped


def raise_share(c: Console, p: Principal, experiment_id: str, share: float) -> Experiment:
    """Let more of the traffic in; nobody who is in moves. Raises ConflictError for a share that falls."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        raised = service.raise_share(s, p.tenant_id, experiment_id, share, now=c.clock())
        promotion.note_experiment(c, s, p, "experiment.ramped", raised, share=raised.share)
    c.variants.forget(p.tenant_id)
    return raised


def promote_experiment(c: Console, p: Principal, experiment_id: str, arm_id: str | None = None) -> Experiment:
    """Let an arm (left out: the winner) serve from now on, by a hot swap where the experiment serves a name.

    Raises NotFoundError, ConflictError (nobody has won, it cannot be swapped), InvalidInputError.
    """
    p.require(Permission.TRAIN)
    return promotion.promote(c, p, experiment_id, arm_id)


def roll_back_experiment(c: Console, p: Principal, experiment_id: str, reason: str = "") -> Experiment:
    """Back to the control: an experiment that runs ends; one that was promoted is swapped back."""
    p.require(Permission.TRAIN)
    return promotion.roll_back(c, p, experiment_id, reason)


def archive_experiment(c: Console, p: Principal, experiment_id: str) -> Experiment:
    """Put it away with its sums; single requests and units are deleted."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        archived = service.archive_experiment(s, p.tenant_id, experiment_id, now=c.clock())
        promotion.note_experiment(c, s, p, "experiment.archived", archived)
    return archived


def assign_variant(
    c: Console,
    p: Principal,
    experiment_id: str,
    user_id: str | None,
    context: Mapping[str, str] | None = None,
    *,
    session_id: str | None = None,
    event_id: str | None = None,
) -> Assignment:
    """The arm of a user (a session, an event), who counts as exposed. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.INFER)
    named = {"session_id": session_id, "event_id": event_id}
    with c.database.transaction() as s:
        return service.assign_variant(s, p.tenant_id, experiment_id, user_id, context, **named, now=c.clock())


def record_impression(
    c: Console,
    p: Principal,
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
) -> Recorded:
    """Write down what came of one request. Raises NotFoundError, ConflictError, InvalidInputError."""
    p.require(Permission.REVIEW)
    with c.database.transaction() as s:
        return service.record_impression(
            s,
            p.tenant_id,
            experiment_id,
            variant_id,
            success,
            latency_ms,
            feedback_score,
            user_id,
            event_id,
            metrics,
            context,
            session_id=session_id,
            now=c.clock(),
        )


def get_experiment_results(c: Console, p: Principal, experiment_id: str) -> ExperimentResults:
    """All that can be said now. Raises NotFoundError."""
    p.require(Permission.VIEW)
    c.impressions.write()
    with c.database.transaction() as s:
        return service.get_experiment_results(s, p.tenant_id, experiment_id, now=c.clock())


def _pinned(
    c: Console, s: Session, p: Principal, compositions: Mapping[str, Mapping[str, Any]]
) -> dict[str, Pinned]:
    found = {}
    for arm_id, composition in compositions.items():
        try:
            found[arm_id] = arms.pin(c, s, p.tenant_id, composition)
        except (NotFoundError, ConflictError, InvalidInputError) as error:
            raise type(error)(
                f"The variant «{arm_id}» cannot answer: {error.what}", error.why, error.next_step
            ) from error
    return found
