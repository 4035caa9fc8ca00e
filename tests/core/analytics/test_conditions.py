"""What is worth an alert: stuck jobs, losses that have settled, memory that is short."""

import math
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from scipy import stats

from core.analytics.alert_records import AlertKind, default_rule
from core.analytics.conditions import (
    READINGS,
    a_worker_lives,
    loss_plateau,
    machine_findings,
    plateau,
    stuck_job,
)
from core.analytics.health_records import GpuHealth, MachineHealth
from core.jobs.records import Job, JobPoint, JobState

MINUTE = timedelta(minutes=1)
RULES = {kind: default_rule(kind) for kind in AlertKind}
MACHINE = MachineHealth(2, 0.5, 1.0, 50, 100, 10, 1, 2, (), "none")


def job(now: datetime, state: JobState = JobState.RUNNING, **changes: object) -> Job:
    made = Job(
        id="job_1",
        tenant_id="ten_1",
        kind="training",
        name="gamma",
        state=state,
        spec={},
        stage="training",
        step=50,
        total_steps=100,
        eta_s=None,
        attempt=1,
        fence="f",
        cancel_requested=False,
        submitted_by="ann",
        result=None,
        error=None,
        created_at=now,
        started_at=None if state is JobState.QUEUED else now,
        heartbeat_at=None if state is JobState.QUEUED else now,
        finished_at=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def curve(losses: list[float], now: datetime) -> list[JobPoint]:
    return [JobPoint(step, now, loss) for step, loss in enumerate(losses, start=1)]


def test_a_running_job_is_stuck_when_it_was_silent_for_as_long_as_the_rule_says(now: datetime) -> None:
    rule = RULES[AlertKind.STUCK_JOB]
    runs = job(now)
    assert stuck_job(runs, rule, a_worker_lives=True, now=now + 9 * MINUTE) is None
    found = stuck_job(runs, rule, a_worker_lives=True, now=now + 11 * MINUTE)
    assert found is not None
    assert (found.subject, found.kind) == ("job_1", AlertKind.STUCK_JOB)
    assert "11 minutes" in found.why
    assert stuck_job(runs, rule, a_worker_lives=True, now=now - timedelta(days=1)) is None  # a clock behind
    over = replace(runs, state=JobState.FAILED)
    assert stuck_job(over, rule, a_worker_lives=True, now=now + timedelta(days=1)) is None


def test_a_queued_job_is_stuck_only_while_no_worker_lives(now: datetime) -> None:
    rule, waits = RULES[AlertKind.STUCK_JOB], job(now, JobState.QUEUED)
    later = now + 30 * MINUTE
    assert stuck_job(waits, rule, a_worker_lives=True, now=later) is None
    found = stuck_job(waits, rule, a_worker_lives=False, now=later)
    assert found is not None
    assert "worker" in found.what
    assert a_worker_lives([job(now)], now + MINUTE)
    assert not a_worker_lives([job(now), waits], now + 3 * MINUTE)
    assert not a_worker_lives([waits], now)


def test_the_interval_of_a_plateau_is_welchs() -> None:
    numbers = random.Random(4)
    older = [1.0 + numbers.gauss(0, 0.02) for _ in range(30)]
    newer = [0.95 + numbers.gauss(0, 0.05) for _ in range(30)]
    found = plateau(older + newer)
    assert found is not None
    oracle = stats.ttest_ind(older, newer, equal_var=False).confidence_interval(0.95)
    assert found.gain.low * found.before == pytest.approx(oracle.low, rel=0.01)
    assert found.gain.high * found.before == pytest.approx(oracle.high, rel=0.01)


@pytest.mark.parametrize(
    ("slope", "noise", "told"),
    [(0.0, 0.01, True), (0.02, 0.01, False), (0.0, 0.5, False), (-0.005, 0.01, True)],
)
def test_a_plateau_is_told_only_where_the_readings_show_it(
    now: datetime, slope: float, noise: float, told: bool
) -> None:
    """Still falling is none, and noise that could hide a fall is none either."""
    false = 0
    for seed in range(20):
        numbers = random.Random(seed)
        losses = [2.5 - slope * k + numbers.gauss(0, noise) for k in range(READINGS + 20)]
        found = loss_plateau(job(now), curve(losses, now), RULES[AlertKind.LOSS_PLATEAU])
        false += (found is not None) is not told
    assert false <= 1


def test_no_plateau_of_a_job_that_is_nearly_done_has_few_readings_or_does_not_run(now: datetime) -> None:
    flat = curve([1.0] * READINGS, now)
    rule = RULES[AlertKind.LOSS_PLATEAU]
    assert loss_plateau(job(now), flat, rule) is not None
    assert loss_plateau(job(now, step=95), flat, rule) is None
    assert loss_plateau(job(now, JobState.QUEUED), flat, rule) is None
    assert loss_plateau(job(now), flat[1:], rule) is None
    assert plateau([1.0] * (READINGS - 1) + [math.nan]) is None
    assert plateau([0.0] * READINGS) is None


def test_memory_is_short_from_the_threshold_on() -> None:
    assert machine_findings(MACHINE, RULES) == []
    assert machine_findings(replace(MACHINE, memory_used_bytes=91), RULES) == []
    (found,) = machine_findings(replace(MACHINE, memory_used_bytes=92), RULES)
    assert (found.kind, found.figures["share"]) == (AlertKind.MEMORY, 0.92)


def test_the_fullest_gpu_counts() -> None:
    gpus = tuple(
        GpuHealth(k, f"Card {k}", used, 100, None, None, None) for k, used in enumerate((10, 97, 30))
    )
    (found,) = machine_findings(replace(MACHINE, gpus=gpus), RULES)
    assert (found.kind, found.figures["index"]) == (AlertKind.GPU, 1)
    assert "Card 1" in found.label
    assert machine_findings(replace(MACHINE, gpus=gpus[:1]), RULES) == []
