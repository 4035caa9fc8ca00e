"""What is worth an alert: pure judgements on jobs, curves and the machine."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, variance

from core.analytics.alert_records import MACHINE, AlertKind, AlertRule, Finding
from core.analytics.health import last_sign_of
from core.analytics.health_records import MachineHealth
from core.jobs.records import Job, JobPoint, JobState
from core.stats.proportions import Interval, student_critical_value

READINGS = 60  # of a loss, that a plateau is judged by
DONE_ENOUGH = 0.9  # a training that is this far is left to end
WORKER_HEARD_WITHIN = timedelta(minutes=2)
CONFIDENCE = 0.95
GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plateau:
    """The part of the loss that was won over the last readings, with its interval, and the two means."""

    gain: Interval
    before: float
    after: float


def stuck_job(job: Job, rule: AlertRule, *, a_worker_lives: bool, now: datetime) -> Finding | None:
    """A running job without a sign of life, or a queued one while no worker gives one."""
    silent = now - last_sign_of(job)
    if silent < timedelta(minutes=rule.threshold) or job.state.final:
        return None
    minutes = silent.total_seconds() / 60
    figures = {"minutes": round(minutes, 1), "state": job.state.value, "stage": job.stage}
    if job.state is JobState.RUNNING:
        return Finding(
            AlertKind.STUCK_JOB,
            job.id,
            job.name,
            "A job gives no sign of life.",
            f"«{job.name}» was last heard of {minutes:.0f} minutes ago, at step {job.step:,} of {job.total_steps:,}.",
            "See whether its worker still runs; a worker that is started goes on with it.",
            figures,
        )
    if a_worker_lives:
        return None
    return Finding(
        AlertKind.STUCK_JOB,
        job.id,
        job.name,
        "No worker takes this job.",
        f"«{job.name}» has waited for {minutes:.0f} minutes, and no job of anybody is worked on.",
        "Start a worker: `python -m app worker`.",
        figures,
    )


def a_worker_lives(jobs: Sequence[Job], now: datetime) -> bool:
    """Whether any running job was heard of a moment ago. Clocks that differ by less than two minutes do not matter."""
    return any(
        job.state is JobState.RUNNING and now - last_sign_of(job) < WORKER_HEARD_WITHIN for job in jobs
    )


def loss_plateau(job: Job, points: Sequence[JobPoint], rule: AlertRule) -> Finding | None:
    """A running training whose loss, with confidence, fell by less than the threshold over its last readings."""
    if job.state is not JobState.RUNNING or job.progress >= DONE_ENOUGH:
        return None
    found = plateau([point.loss for point in points if point.loss is not None])
    if found is None or found.gain.high >= rule.threshold:
        return None
    return Finding(
        AlertKind.LOSS_PLATEAU,
        job.id,
        job.name,
        "A training does not get better any more.",
        f"Over its last {READINGS} readings the loss of «{job.name}» went from {found.before:.4g} to {found.after:.4g}: "
        f"it fell by {found.gain.value:.1%} (95 % interval {found.gain.low:.1%} to {found.gain.high:.1%}).",
        "Look at its curve. Stop it if the validation loss has settled, or lower the learning rate next time.",
        {
            "gain": found.gain.value,
            "low": found.gain.low,
            "high": found.gain.high,
            "before": found.before,
            "after": found.after,
            "step": job.step,
        },
    )


def plateau(losses: Sequence[float]) -> Plateau | None:
    """The mean of the older half of the last readings beside that of the newer one: Welch's interval of the difference,
    as a part of the older mean. None for too few readings or a loss that is not above 0.

    Source: Welch, B. L. (1947), Biometrika 34, 28–35: two means with unequal variances.
    """
    if len(losses) < READINGS or not all(map(math.isfinite, losses[-READINGS:])):
        return None
    half = READINGS // 2
    older, newer = losses[-READINGS:-half], losses[-half:]
    before, after = fmean(older), fmean(newer)
    if before <= 0:
        return None
    a, b = variance(older) / half, variance(newer) / half
    if a + b == 0:
        half_width = 0.0
    else:
        degrees = (a + b) ** 2 / ((a * a + b * b) / (half - 1))
        half_width = student_critical_value(CONFIDENCE, int(degrees)) * math.sqrt(a + b)
    gain = before - after
    return Plateau(
        Interval(gain / before, (gain - half_width) / before, (gain + half_width) / before), before, after
    )


def machine_findings(machine: MachineHealth, rules: Mapping[AlertKind, AlertRule]) -> list[Finding]:
    """Memory that is nearly used up, of the machine and of its fullest GPU, at this look."""
    found = []
    share = machine.memory_share
    if share >= rules[AlertKind.MEMORY].threshold:
        found.append(
            Finding(
                AlertKind.MEMORY,
                MACHINE,
                "This machine",
                "The memory of the machine is nearly used up.",
                f"{machine.memory_used_bytes / GB:.1f} of {machine.memory_total_bytes / GB:.1f} GB are in use "
                f"({share:.0%}), {machine.process_bytes / GB:.1f} GB of them by this process.",
                "Stop what is not needed, or lower RMN_ADAPTER_MEMORY_MB and RMN_KV_MEMORY_MB.",
                {"share": share, "used_bytes": machine.memory_used_bytes},
            )
        )
    fullest = max(machine.gpus, key=lambda gpu: gpu.used_bytes / gpu.total_bytes, default=None)
    if fullest is not None and fullest.used_bytes / fullest.total_bytes >= rules[AlertKind.GPU].threshold:
        share = fullest.used_bytes / fullest.total_bytes
        found.append(
            Finding(
                AlertKind.GPU,
                MACHINE,
                f"GPU {fullest.index}: {fullest.name}",
                "The memory of a GPU is nearly used up.",
                f"{fullest.used_bytes / GB:.1f} of {fullest.total_bytes / GB:.1f} GB are in use ({share:.0%}).",
                "Stop a training that runs beside, or lower RMN_KV_MEMORY_MB.",
                {"share": share, "used_bytes": fullest.used_bytes, "index": fullest.index},
            )
        )
    return found
