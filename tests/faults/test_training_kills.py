"""kill -9 of the process that trains, at the moments that hurt most: one adapter in the end, never half of one."""

import importlib
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app import training_child
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.registry import service as registry
from core.registry.records import Adapter
from core.registry.verify import verify_folder
from core.settings import Settings
from core.storage.database import Database
from core.tenants import service as tenants
from core.training import checkpoints
from core.training.progress import Stop
from tests.core.training.tiny_base import make_tiny_base, register_small_set, small_spec, submit_run


@dataclass(frozen=True)
class Dies:
    """To be planted in a child: the `call`th call of `owner.name` kills the process, before or after the work.

    `owner` is told as module:name, because a plant goes to another process.
    """

    owner: str
    name: str
    call: int = 1
    after: bool = False

    def plant(self) -> None:
        module, _, inner = self.owner.partition(":")
        owner = importlib.import_module(module)
        owner = getattr(owner, inner) if inner else owner
        real, calls = getattr(owner, self.name), []

        def fatal(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == self.call and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if len(calls) == self.call and self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, self.name, fatal)


TRAINER, FOLDER = "core.training.trainer:AdapterTrainer", "core.training.checkpoints:RunFolder"
RUNNER = "core.training.runner"
# In the order in which one run of 12 steps with a checkpoint every 3 meets them, each in an attempt of its own.
DEATHS = {
    "before the first step": Dies(TRAINER, "training_step"),
    "two steps after checkpoint 3": Dies(TRAINER, "training_step", call=6),
    "while checkpoint 6 is written": Dies(TRAINER, "_save_rng_state"),
    "between checkpoint 9 and forgetting checkpoint 3": Dies(FOLDER, "forget_older", call=2),
    "while an old checkpoint is deleted": Dies("core.training.checkpoints", "rmtree"),
    "when training is done and nothing of it is written": Dies(RUNNER, "write_atomically"),
    "while the trained adapter is written": Dies(RUNNER, "save_adapter", after=True),
    "while evaluating": Dies(RUNNER, "evaluation_document"),
    "while publishing": Dies("core.registry.package:shutil", "copyfile", after=True),
    "between publishing and registering": Dies(RUNNER, "publish", after=True),
    "between registering and the commit": Dies("core.registry.service", "register_adapter", after=True),
}


def attempt_in_child(settings: Settings, job_id: str, fence: str, said: Path, plant: Dies | None) -> None:
    """One attempt, in a process that ends with its status."""
    status = 99
    try:
        with said.open("a") as log:
            os.dup2(log.fileno(), 2)
            sys.stderr = log
            if plant is not None:
                plant.plant()
            database = Database(settings.resolved_database_url)
            status = training_child.run_job(database, settings, job_id, fence, Stop())
    finally:
        os._exit(status)


@pytest.fixture(scope="module")
def nursery() -> Any:
    """Forks children from a process that has imported everything and done nothing: no seconds of imports in each.

    Forked from this process they would stand still for ever, once any test before has used polars here: its threads
    do not come along.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.training.runner", __name__])
    return context


@dataclass
class Site:
    """An installation whose children are real processes."""

    settings: Settings
    database: Database
    tenant_id: str
    folder: Path
    nursery: Any

    def submit(self) -> str:
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            dataset = register_small_set(s, self.tenant_id, self.folder, now, train=16, test=4)
        spec = small_spec(dataset, epochs=3.0, checkpoint_every=3)
        return submit_run(self.database, self.tenant_id, spec, self.settings, now).id

    def attempt(self, job_id: str, plant: Dies | None = None) -> int:
        """Run one attempt in a process of its own; its exit status, negative where a signal ended it."""
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            job = jobs.claim(s, job_id, now=now, lapsed_before=now)
        assert job is not None
        told = (self.settings, job.id, job.fence, self.folder / "child.txt", plant)
        child = self.nursery.Process(target=attempt_in_child, args=told)
        # Tests of screens leave the console's script as the main module, and a child would run that first.
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "__main__", ModuleType("__main__"))
            child.start()
        child.join(120)
        assert child.exitcode is not None, self.said()
        return int(child.exitcode)

    def said(self) -> str:
        return (self.folder / "child.txt").read_text()[-2000:]

    def job(self, job_id: str) -> Job:
        with self.database.reading() as s:
            return jobs.get(s, self.tenant_id, job_id)

    def curve(self, job_id: str) -> list[tuple[int, float | None, float | None]]:
        with self.database.reading() as s:
            return [(p.step, p.loss, p.validation_loss) for p in jobs.points(s, self.tenant_id, job_id)]

    def published(self) -> list[Path]:
        return [p for p in self.settings.adapters_dir.glob("*") if not p.name.startswith(".")]

    def adapters(self) -> list[Adapter]:
        with self.database.reading() as s:
            return registry.list_adapters(s, self.tenant_id)


@pytest.fixture(scope="module")
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, nursery: Any) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    base = make_tiny_base(folder / "models")
    (folder / "rmn.sqlite").write_bytes(sqlite_template.read_bytes())
    settings = Settings(home=folder, base_model=str(base), training_threads=1, device="cpu")
    database = Database(settings.resolved_database_url)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha Stores", now=datetime.now(UTC))
    yield Site(settings, database, tenant.id, folder, nursery)
    database.close()


@pytest.fixture(scope="module")
def uninterrupted(site: Site) -> str:
    job_id = site.submit()
    assert site.attempt(job_id) == training_child.DONE, site.said()
    return job_id


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_single_adapter(
    site: Site, uninterrupted: str
) -> None:
    (whole,) = site.adapters()
    # The same run publishes the same folder: away with it, so that it has to be published again.
    shutil.rmtree(site.settings.adapters_dir)
    job_id = site.submit()
    for moment, plant in DEATHS.items():
        assert site.attempt(job_id, plant) == -signal.SIGKILL, f"{moment}: {site.said()}"
        assert site.job(job_id).state is JobState.RUNNING, moment
        assert site.adapters() == [whole], moment
        for folder in site.published():
            assert verify_folder(folder).digest == folder.name, moment
    assert site.attempt(job_id, Dies(FOLDER, "finish")) == -signal.SIGKILL
    job = site.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == len(DEATHS) + 1
    assert job.result is not None
    (made,) = (adapter for adapter in site.adapters() if adapter.id != whole.id)
    assert (made.job_id, made.id, made.digest) == (job_id, job.result["adapter_id"], whole.digest)
    assert [folder.name for folder in site.published()] == [made.digest]
    assert site.curve(job_id) == site.curve(uninterrupted)
    reference = site.job(uninterrupted).result
    assert reference is not None
    assert job.result["evaluation"]["headline"] == reference["evaluation"]["headline"]


def test_a_run_goes_on_from_its_last_checkpoint_and_repeats_no_step_before_it(site: Site) -> None:
    job_id = site.submit()
    assert site.attempt(job_id, Dies(TRAINER, "training_step", call=11)) == -signal.SIGKILL
    folder = checkpoints.RunFolder(site.settings.jobs_dir / job_id)
    assert folder.last_checkpoint() == folder.checkpoint(9)
    # Three steps are left: a death in a fourth one never comes.
    plant = Dies(TRAINER, "training_step", call=4)
    assert site.attempt(job_id, plant) == training_child.DONE, site.said()
    assert site.job(job_id).state is JobState.SUCCEEDED


def test_a_damaged_checkpoint_folder_without_its_end_is_never_used(site: Site) -> None:
    job_id = site.submit()
    folder = checkpoints.RunFolder(site.settings.jobs_dir / job_id)
    half = folder.path / ".checkpoint-6.abc.part"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    assert site.attempt(job_id, Dies(TRAINER, "training_step", call=2)) == -signal.SIGKILL
    assert not half.exists()


def test_a_child_whose_fence_is_old_does_nothing(site: Site) -> None:
    job_id = site.submit()
    with site.database.transaction() as s:
        jobs.claim(s, job_id, now=datetime.now(UTC))
    status = training_child.run_job(site.database, site.settings, job_id, "fence_of_yesterday", Stop())
    assert status == training_child.FENCED
    assert site.curve(job_id) == []
