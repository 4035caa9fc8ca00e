"""train: submit a run, and if wanted wait for it."""

import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.actions import datasets, training
from app.actions.training import TrainingChoices
from app.commands.jobs import summary
from app.commands.local import Local, local
from app.commands.output import JsonOption, TenantOption, answer, tell
from core.errors import NotFoundError
from core.jobs.records import Job, JobState
from core.registry.records import AdapterType

LOOK_EVERY_S = 0.5
TELL_EVERY_S = 5.0
WORKER_LOST_AFTER_S = 20.0


def train(
    dataset: Annotated[str, typer.Option(help="Name or id of a dataset, or a training file.")],
    name: Annotated[str, typer.Option(help="Name of the adapter that comes out.")],
    type: Annotated[AdapterType, typer.Option(help="What the adapter teaches.")] = AdapterType.RETAILER,
    preset: Annotated[str, typer.Option(help="quick, balanced or thorough.")] = "balanced",
    epochs: Annotated[float | None, typer.Option(help="How often every example is seen.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, max=256, help="Size of the adapter.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Size of a step.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=256, help="Examples in one pass.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Same seed, data and machine: same adapter.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; run it here if no worker runs.")
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an adapter on a dataset and compare it with the base on held-out rows."""
    choices = TrainingChoices(
        epochs=epochs, rank=rank, learning_rate=learning_rate, batch_size=batch_size, seed=seed
    )
    with local(tenant) as here:
        spec = training.plan_training(
            here.console,
            here.principal,
            name=name,
            adapter_type=type,
            dataset=_dataset(here, dataset, type),
            preset=preset,
            choices=choices,
        )
        job = follow(here, training.submit_training(here.console, here.principal, spec), wait=wait)
    if not wait:
        answer(summary(job), lambda: f"Submitted {job.name}: {job.id}", as_json)
        return
    answer(_outcome(job), lambda: _text(job), as_json)
    raise typer.Exit(0 if job.state is JobState.SUCCEEDED else 1)


def follow(here: Local, job: Job, *, wait: bool) -> Job:
    """The job at its end if it is waited for, else as it was submitted; says so where no worker would take it."""
    if wait:
        return Watch(here, job).until_done()
    if not worker_runs(here):
        tell("No worker runs on this machine: start one with `python -m app worker`.")
    return job


class Watch:
    """Waits for a job and tells how far it is. Where no worker runs, this process does its work."""

    def __init__(self, here: Local, job: Job) -> None:
        self._here = here
        self._job = job
        self._stop = threading.Event()
        self._running_here: threading.Thread | None = None
        self._failure: Exception | None = None
        self._stage, self._told_at = "", 0.0
        self._alone_since: float | None = None

    def until_done(self) -> Job:
        """The job once it has ended. Ctrl-C stops waiting; a job that ran here goes on with the next worker."""
        try:
            while not self._job.state.final:
                self._find_a_worker()
                time.sleep(LOOK_EVERY_S)
                self._job = training.get_job(self._here.console, self._here.principal, self._job.id)
                self._tell()
        except KeyboardInterrupt:
            tell(f"\nStopped waiting. {self._job.id} goes on as soon as a worker runs: python -m app worker")
            raise
        finally:
            self._stop.set()
            if self._running_here is not None:
                self._running_here.join()
        return self._job

    def _find_a_worker(self) -> None:
        if self._running_here is not None:
            if self._failure is not None:
                raise self._failure
            if not self._running_here.is_alive():
                self._running_here = None
            return
        if worker_runs(self._here):
            self._alone_since = None
            return
        # A worker elsewhere may have the job; only one that nobody has touched is taken at once.
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if self._job.state is JobState.QUEUED or now - self._alone_since > WORKER_LOST_AFTER_S:
            tell("No worker runs on this machine: running the job here.")
            self._running_here = threading.Thread(target=self._run_here, name="run-job")
            self._running_here.start()

    def _run_here(self) -> None:
        from app.worker import run_job_here

        try:
            run_job_here(self._here.console.settings, self._job.id, stop=self._stop)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self._failure = error

    def _tell(self) -> None:
        job = self._job
        eta = f", about {job.eta_s:.0f} s left" if job.eta_s is not None and not job.state.final else ""
        steps = f" {job.step}/{job.total_steps}" if job.total_steps else ""
        stage = job.state if job.state.final else job.stage or job.state
        if stage != self._stage or time.monotonic() - self._told_at >= TELL_EVERY_S:
            tell(f"{stage}{steps}{eta}")
            self._stage, self._told_at = stage, time.monotonic()


def _dataset(here: Local, given: str, type: AdapterType) -> str:
    """Id of the dataset: by name or id, or imported from a file."""
    path = Path(given)
    try:
        return datasets.find_dataset(here.console, here.principal, given).id
    except NotFoundError:
        if not path.is_file():
            raise
    with path.open("rb") as content:
        found = datasets.import_dataset(
            here.console, here.principal, content, path.name.partition(".")[0], type
        )
    tell(f"Imported {path} as {found.name}.")
    return found.id


def worker_runs(here: Local) -> bool:
    from app.worker import a_worker_runs

    return a_worker_runs(here.console.settings)


def _outcome(job: Job) -> dict[str, Any]:
    if job.state is JobState.SUCCEEDED:
        return {"job_id": job.id, "name": job.name, "state": job.state, **(job.result or {})}
    told = {"code": "job_failed", "what": f"The job is {job.state}.", "why": "", "next_step": ""}
    error: dict[str, Any] = told if job.error is None else {"code": "job_failed", **_fields(job.error)}
    return {"job_id": job.id, "name": job.name, "state": job.state, "error": error}


def _fields(error: Any) -> dict[str, str]:
    return {"what": error.what, "why": error.why, "next_step": error.next_step}


def _text(job: Job) -> str:
    if job.state is not JobState.SUCCEEDED:
        error = job.error
        return (
            f"✗ {error.what}\n  {error.why}\n  {error.next_step}" if error else f"{job.name} is {job.state}."
        )
    result = job.result or {}
    lines = [f"{job.name}: {result.get('adapter_id')} in {result.get('seconds', 0):.0f} s"]
    scores = result.get("evaluation") or {}
    lines += _loss_lines(scores)
    for title, key in (("exact match", "exact_match"), ("field accuracy", "field_accuracy")):
        before, after = scores.get(f"base_{key}"), scores.get(f"adapter_{key}")
        if before is not None and after is not None:
            lines.append(
                f"  {title}: base {before:.1%} → adapter {after:.1%} on {scores.get('n')} held-out rows"
            )
    return "\n".join(lines)


def _loss_lines(scores: dict[str, Any]) -> list[str]:
    """For free text, of which no two are the same, the main figure."""
    headline = scores.get("headline") or {}
    change = headline.get("answer_loss_change")
    if scores.get("main_figure") != "answer_loss" or change is None:
        return []
    before, after = headline["base_answer_loss"], headline["adapter_answer_loss"]
    middle, low, high = change
    return [
        f"  loss per answer token: base {before['value']:.3f} → adapter {after['value']:.3f} "
        f"({middle:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}) on {after['rows']} held-out rows"
    ]
