"""Experiments for tests: drafts with two arms, and whole ones in a database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.experiments import service
from core.experiments.records import ArmDraft, Experiment, ExperimentDraft, Pinned


def draft(weights: Sequence[float | None] = (None, None), **changed: Any) -> ExperimentDraft:
    """«v1» is the control, then «v2», «v3» and so on; ten units per arm are enough."""
    arms = tuple(
        ArmDraft(id=f"v{number}", composition={"model": f"amazon_v{number}"}, weight=weight)
        for number, weight in enumerate(weights, 1)
    )
    given: dict[str, Any] = {"id": "amazon_v1_vs_v2", "name": "Amazon", "minimum_units": 10, "arms": arms}
    return ExperimentDraft(**{**given, **changed})


def pinned(experiment: Experiment) -> dict[str, Pinned]:
    """As if each arm were one adapter."""
    return {
        arm.id: Pinned({"terms": [{"adapter": f"adp_{arm.id}"}]}, "0" * 64, f"amazon {arm.id}")
        for arm in experiment.arms
    }


def started(
    s: Session, tenant_id: str, now: datetime, weights: Sequence[float | None] = (None, None), **changed: Any
) -> Experiment:
    """One that runs."""
    made = service.create_experiment(s, tenant_id, draft(weights, **changed), created_by="Ada", now=now)
    return service.start_experiment(s, tenant_id, made.id, pinned(made), now=now)
