"""kill -9 of the process that trains, at the moments that hurt most: one adapter in the end, never half of one."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
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
from core.training import checkpoints, publish, runner, trainer
from core.training.progress import Stop
from tests.core.training.tiny_base import make_tiny_base, register_small_set, small_spec, submit_run

Plant = Callable[[], None]


def dies(owner: Any, name: str, *, call: int = 1, after: bool = False) -> Plant:
    """To be planted in a child: the `call`th call of `owner.name` kills the process, before or after the work."""

    def plant() -> None:
        real, calls = getattr(owner, name), []

        def fatal(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == call and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if len(calls) == call and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, fatal)

    return plant


# In the order in which one run of 12 steps with a checkpoint every 3 meets them, each in an attempt of its own.
DEATHS = {
    "before the first step": dies(trainer.AdapterTrainer, "training_step"),
    "two steps after checkpoint 3": dies(trainer.AdapterTrainer, "training_step", call=6),
    "while checkpoint 6 is written": dies(trainer.AdapterTrainer, "_save_rng_state"),
    "between checkpoint 9 and forgetting checkpoint 3": dies(checkpoints.RunFolder, "forget_older", call=2),
    "while an old checkpoint is deleted": dies(checkpoints, "rmtree"),
    "when training is done and nothing of it is written": dies(runner, "write_atomically"),
    "while the trained adapter is written": dies(runner, "save_adapter", after=True),
    "while evaluating": dies(runner, "evaluation_document"),
    "while publishing": dies(publish, "adapter_card"),
    "between publishing and registering": dies(runner, "publish_adapter", after=True),
    "between registering and the commit": dies(registry, "register_adapter", after=True),
}


@dataclass
class Site:
    """An installation whose children are forked from this process: real processes, without the seconds of imports."""

    settings: Settings
    database: Database
    tenant_id: str
    folder: Path

    def submit(self) -> str:
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            dataset = register_small_set(s, self.tenant_id, self.folder, now, train=16, test=4)
        spec = small_spec(dataset, epochs=3.0, checkpoint_every=3)
        return submit_run(self.database, self.tenant_id, spec, self.settings, now).id

    def attempt(self, job_id: str, plant: Plant | None = None) -> int:
        """Run one attempt in a process of its own; its exit status, negative where a signal ended it."""
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            job = jobs.claim(s, job_id, now=now, lapsed_before=now)
        assert job is not None
        self.database.close()
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                with (self.folder / "child.txt").open("a") as log:
                    os.dup2(log.fileno(), 2)
                    sys.stderr = log
                    if plant is not None:
                        plant()
                    database = Database(self.settings.resolved_database_url)
                    status = training_child.run_job(database, self.settings, job.id, job.fence, Stop())
            finally:
                os._exit(status)
        gc.unfreeze()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

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
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    base = make_tiny_base(folder / "models")
    (folder / "rmn.sqlite").write_bytes(sqlite_template.read_bytes())
    settings = Settings(home=folder, base_model=str(base), training_threads=1, device="cpu")
    database = Database(settings.resolved_database_url)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha Stores", now=datetime.now(UTC))
    yield Site(settings, database, tenant.id, folder)
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
    assert site.attempt(job_id, dies(checkpoints.RunFolder, "finish")) == -signal.SIGKILL
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
    assert site.attempt(job_id, dies(trainer.AdapterTrainer, "training_step", call=11)) == -signal.SIGKILL
    folder = checkpoints.RunFolder(site.settings.jobs_dir / job_id)
    assert folder.last_checkpoint() == folder.checkpoint(9)
    # Three steps are left: a death in a fourth one never comes.
    plant = dies(trainer.AdapterTrainer, "training_step", call=4)
    assert site.attempt(job_id, plant) == training_child.DONE, site.said()
    assert site.job(job_id).state is JobState.SUCCEEDED


def test_a_damaged_checkpoint_folder_without_its_end_is_never_used(site: Site) -> None:
    job_id = site.submit()
    folder = checkpoints.RunFolder(site.settings.jobs_dir / job_id)
    half = folder.path / ".checkpoint-6.abc.part"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    assert site.attempt(job_id, dies(trainer.AdapterTrainer, "training_step", call=2)) == -signal.SIGKILL
    assert not half.exists()


def test_a_child_whose_fence_is_old_does_nothing(site: Site) -> None:
    job_id = site.submit()
    with site.database.transaction() as s:
        jobs.claim(s, job_id, now=datetime.now(UTC))
    status = training_child.run_job(site.database, site.settings, job_id, "fence_of_yesterday", Stop())
    assert status == training_child.FENCED
    assert site.curve(job_id) == []
