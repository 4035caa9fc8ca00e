"""From a draft to an experiment, and between an experiment and the document that is stored of it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from core.errors import ConflictError
from core.experiments.checks import check_name, check_times, plan_of
from core.experiments.plan import MetricKind, MetricPlan, Mode, Plan, Verdict
from core.experiments.records import (
    Arm,
    Automatic,
    BanditRule,
    Experiment,
    ExperimentDraft,
    RampStep,
    Reached,
    Serves,
    ServesKind,
    State,
    Strategy,
    UnitKind,
)
from core.storage.ids import new_id

Slots = tuple[float, float]


def experiment_of(
    draft: ExperimentDraft,
    tenant_id: str,
    neighbours: Sequence[Experiment],
    *,
    created_by: str,
    now: datetime,
) -> Experiment:
    """What a draft asks for. `neighbours`: the experiments that hold a part of its namespace now.

    Raises InvalidInputError for what does not fit together, ConflictError where the namespace has no room.
    """
    check_name(draft.name)
    plan = plan_of(draft)
    ramp = check_times(draft, now)
    experiment_id = draft.id or new_id("exp")
    return Experiment(
        id=experiment_id,
        tenant_id=tenant_id,
        name=draft.name,
        description=draft.description,
        hypothesis=draft.hypothesis,
        arms=tuple(
            Arm(arm.id, arm.composition, weight, arm.label)
            for arm, weight in zip(draft.arms, plan.weights, strict=True)
        ),
        plan=plan,
        strategy=draft.strategy,
        bandit=draft.bandit,
        unit=UnitKind.REQUEST if draft.shadow else draft.unit,
        # A seed of its own makes the arms of two experiments independent; a known one lets anybody recompute them.
        salt=secrets.token_hex(16) if draft.strategy is Strategy.RANDOM else experiment_id,
        namespace=draft.namespace or experiment_id,
        slots=_slots(draft, neighbours),
        holdout=draft.holdout,
        targeting=dict(draft.targeting),
        starts_at=draft.starts_at,
        ends_at=draft.ends_at,
        share=draft.share,
        ramp=ramp,
        shadow=draft.shadow,
        serves=None if draft.serves is None else Serves(draft.serves.kind, draft.serves.name),
        automatic=draft.automatic,
        state=State.DRAFT,
        created_by=created_by,
        created_at=now,
    )


def _slots(draft: ExperimentDraft, neighbours: Sequence[Experiment]) -> Slots:
    """The first stretch of the namespace that is free and long enough."""
    wanted = draft.namespace_share
    if any(abs(other.holdout - draft.holdout) > 1e-12 for other in neighbours):
        raise ConflictError(
            f"The experiments of the namespace «{draft.namespace}» hold out another share.",
            "Units that are held out are held out of all of them.",
            f"Hold out {neighbours[0].holdout:g}, or choose another namespace.",
        )
    taken = sorted(other.slots for other in neighbours)
    gaps, at = [], draft.holdout
    for low, high in taken:
        if low > at + 1e-12:
            gaps.append((at, low))
        at = max(at, high)
    if at < 1 - 1e-12:
        gaps.append((at, 1.0))
    if wanted is None:
        fitting = sorted(gaps, key=lambda gap: gap[0] - gap[1])[:1]
    else:
        fitting = [gap for gap in gaps if gap[1] - gap[0] >= wanted - 1e-12]
    if not fitting:
        free = max((high - low for low, high in gaps), default=0.0)
        raise ConflictError(
            f"The namespace «{draft.namespace}» has no room for this experiment.",
            f"The largest part that is free is {free:.1%}; {len(taken)} experiments share it.",
            "Ask for less, end one of those, or choose another namespace.",
        )
    low, high = fitting[0]
    return low, high if wanted is None else min(high, low + wanted)


def definition_of(experiment: Experiment) -> dict[str, Any]:
    """Everything that is fixed when an experiment starts, as plain JSON."""
    return {
        "description": experiment.description,
        "hypothesis": experiment.hypothesis,
        "arms": [asdict(arm) for arm in experiment.arms],
        "plan": asdict(experiment.plan),
        "strategy": experiment.strategy.value,
        "bandit": experiment.bandit.value,
        "unit": experiment.unit.value,
        "salt": experiment.salt,
        "slots": list(experiment.slots),
        "holdout": experiment.holdout,
        "targeting": {field: list(allowed) for field, allowed in experiment.targeting.items()},
        "starts_at": _text(experiment.starts_at),
        "ends_at": _text(experiment.ends_at),
        "share": experiment.share,
        "ramp": [[_text(step.at), step.share] for step in experiment.ramp],
        "shadow": experiment.shadow,
        "serves": None
        if experiment.serves is None
        else [experiment.serves.kind.value, experiment.serves.name],
        "automatic": experiment.automatic.value,
        "swap_id": experiment.swap_id,
    }


def defined(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same as the fields of an Experiment."""
    return {
        "description": document["description"],
        "hypothesis": document["hypothesis"],
        "arms": tuple(Arm(**arm) for arm in document["arms"]),
        "plan": plan_from(document["plan"]),
        "strategy": Strategy(document["strategy"]),
        "bandit": BanditRule(document["bandit"]),
        "unit": UnitKind(document["unit"]),
        "salt": document["salt"],
        "slots": (float(document["slots"][0]), float(document["slots"][1])),
        "holdout": float(document["holdout"]),
        "targeting": {field: tuple(allowed) for field, allowed in document["targeting"].items()},
        "starts_at": moment(document["starts_at"]),
        "ends_at": moment(document["ends_at"]),
        "share": float(document["share"]),
        "ramp": tuple(
            RampStep(at, float(share)) for text, share in document["ramp"] if (at := moment(text)) is not None
        ),
        "shadow": bool(document["shadow"]),
        "serves": None
        if document["serves"] is None
        else Serves(ServesKind(document["serves"][0]), document["serves"][1]),
        "automatic": Automatic(document["automatic"]),
        "swap_id": document["swap_id"],
    }


def plan_from(document: Mapping[str, Any]) -> Plan:
    """A plan out of plain JSON."""
    fields = dict(document)
    return Plan(
        **{
            **fields,
            "arms": tuple(fields["arms"]),
            "weights": tuple(float(weight) for weight in fields["weights"]),
            "primary": _metric(fields["primary"]),
            "guardrails": tuple(map(_metric, fields["guardrails"])),
            "mode": Mode(fields["mode"]),
        }
    )


def reached_document(reached: Reached | None) -> dict[str, Any] | None:
    """A verdict as plain JSON."""
    if reached is None:
        return None
    return {
        "verdict": reached.verdict.value,
        "winner": reached.winner,
        "reason": reached.reason,
        "at": _text(reached.at),
    }


def reached_from(document: Mapping[str, Any] | None) -> Reached | None:
    """A verdict out of plain JSON."""
    if document is None or (at := moment(document["at"])) is None:
        return None
    return Reached(Verdict(document["verdict"]), document["winner"], document["reason"], at)


def moment(text: str | None) -> datetime | None:
    """A moment out of its text."""
    return None if text is None else datetime.fromisoformat(text)


def _metric(document: Mapping[str, Any]) -> MetricPlan:
    return MetricPlan(**{**document, "kind": MetricKind(document["kind"])})


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
