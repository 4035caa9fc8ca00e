"""What an experiment says now: fold what is recorded, decide, keep the first verdict and how the day ended."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from core.errors import ConflictError
from core.experiments import views
from core.experiments.bandit import allocation_of
from core.experiments.decision import decide, look_due
from core.experiments.fold import fold
from core.experiments.lookup import get_experiment
from core.experiments.plan import Decision, Evidence, Verdict
from core.experiments.records import Experiment, Reached, State
from core.experiments.results import ExperimentResults
from core.experiments.store import experiments as store
from core.experiments.store import impressions as impressions_store
from core.experiments.store import units as units_store
from core.experiments.tally import Tally

FINAL = (Verdict.SHIP, Verdict.ROLLBACK, Verdict.EQUIVALENT)
PORTIONS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """An experiment with its sums and what follows from them."""

    experiment: Experiment
    tally: Tally
    evidence: Evidence
    decision: Decision
    counted: int


def evaluate(
    s: Session, tenant_id: str, experiment_id: str, *, now: datetime, portions: int = PORTIONS
) -> Judged:
    """Fold what is recorded, decide, and keep what has to be kept. Raises NotFoundError."""
    experiment = get_experiment(s, tenant_id, experiment_id)
    if experiment.state in (State.DRAFT, State.ARCHIVED):
        tally, counted = units_store.read_tally(s, tenant_id, experiment_id, experiment.plan), 0
    else:
        tally, counted = fold(s, experiment, now=now, portions=portions)
        # Another process may have kept something while this one waited for the sums.
        experiment = store.get(s, tenant_id, experiment_id) or experiment
    evidence = tally.evidence(experiment, now)
    plan = views.judged_plan(experiment, evidence)
    decision = decide(plan, evidence)
    if experiment.state not in (State.DRAFT, State.ARCHIVED):
        if look := look_due(plan, evidence).look:  # a planned look is taken once, whoever asks first
            tally.looks = look
            units_store.put_tally(s, tenant_id, experiment_id, tally, now)
        experiment = _keep(s, experiment, tally, decision, bool(counted or look), now)
    return Judged(experiment, tally, evidence, decision, counted)


def get_experiment_results(
    s: Session, tenant_id: str, experiment_id: str, *, now: datetime
) -> ExperimentResults:
    """All that can be said now. Raises NotFoundError."""
    judged = evaluate(s, tenant_id, experiment_id, now=now)
    experiment, tally = judged.experiment, judged.tally
    unfolded = impressions_store.count_unfolded(s, tenant_id, experiment_id)
    ages = views.age_figures(experiment, tally)
    return ExperimentResults(
        experiment=experiment,
        at=now,
        decision=judged.decision,
        reached=experiment.reached,
        evidence=judged.evidence,
        arms=views.arm_figures(experiment, tally),
        history=views.history_of(store.snapshots(s, tenant_id, experiment_id)),
        segments=views.segment_figures(experiment, tally),
        ages=ages,
        warnings=(*judged.decision.warnings, *views.warnings_of(experiment, tally, unfolded)),
        unfolded=unfolded,
        independent_units=tally.independent,
        exposure_test=views.exposure_test(experiment, tally),
    )


def _keep(
    s: Session, experiment: Experiment, tally: Tally, decision: Decision, changed: bool, now: datetime
) -> Experiment:
    after = experiment
    if experiment.reached is None and decision.verdict in FINAL:
        reached = Reached(decision.verdict, decision.winner, decision.reason, now)
        after = replace(after, reached=reached)
    allocation = allocation_of(experiment, tally) if changed or experiment.allocation is None else None
    if allocation is not None:
        after = replace(after, allocation=allocation)
    if after != experiment:
        try:
            after = store.change(s, experiment, after)
        except ConflictError:  # somebody paused or stopped it at this moment; the next fold keeps it
            after = experiment
    if changed and decision.comparisons:
        day = now.astimezone(UTC).date()
        store.put_snapshot(s, experiment.tenant_id, experiment.id, day, views.snapshot_of(decision))
    return after
