"""A whole small run: real base, real trainer, real evaluation, real registration."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from core.errors import ConflictError
from core.jobs import service as jobs
from core.jobs.records import Job, JobPoint, JobState
from core.registry import service as registry
from core.registry.records import Adapter
from core.settings import Settings
from core.storage.database import Database
from core.tenants import service as tenants
from core.training.callback import DivergedError
from core.training.checkpoints import RunFolder
from core.training.progress import RunCancelledError, RunInterruptedError, Stop
from core.training.records import TrainingSpec
from core.training.runner import run_training
from core.training.trainer import AdapterTrainer
from tests.core.training.tiny_base import register_small_set, small_spec, submit_run


@dataclass
class Bench:
    """An installation with one tenant, on which jobs are submitted, claimed and run."""

    settings: Settings
    database: Database
    tenant_id: str
    folder: Path

    def submit(self, spec: TrainingSpec | None = None, **counts: int) -> Job:
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            dataset = register_small_set(s, self.tenant_id, self.folder, now, **counts)
        spec = (spec or small_spec("")).model_copy(update={"dataset_id": dataset.id})
        return submit_run(self.database, self.tenant_id, spec, self.settings, now)

    def claim(self, job_id: str) -> Job:
        with self.database.transaction() as s:
            job = jobs.claim(s, job_id, now=datetime.now(UTC), lapsed_before=datetime.now(UTC))
        assert job is not None
        return job

    def run(self, job_id: str, stop: Stop | None = None) -> Job:
        run_training(
            self.claim(job_id),
            database=self.database,
            settings=self.settings,
            stop=stop or Stop(),
            clock=lambda: datetime.now(UTC),
        )
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        with self.database.reading() as s:
            return jobs.get(s, self.tenant_id, job_id)

    def points(self, job_id: str) -> list[JobPoint]:
        with self.database.reading() as s:
            return jobs.points(s, self.tenant_id, job_id)

    def adapters(self) -> list[Adapter]:
        with self.database.reading() as s:
            return registry.list_adapters(s, self.tenant_id)


@pytest.fixture
def bench(tiny_settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    database = Database(tiny_settings.resolved_database_url)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha Stores", now=datetime.now(UTC))
    yield Bench(tiny_settings, database, tenant.id, tmp_path)
    database.close()


Hook = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """A function: before the forward pass of that optimizer step, once, do something."""

    def arrange(step: int, action: Callable[[], None]) -> None:
        real, done = AdapterTrainer.compute_loss, []

        def compute_loss(trainer: AdapterTrainer, model: Any, *args: Any, **kwargs: Any) -> Any:
            if trainer.state.global_step + 1 == step and model.training and not done:
                done.append(True)
                action()
            return real(trainer, model, *args, **kwargs)

        monkeypatch.setattr(AdapterTrainer, "compute_loss", compute_loss)

    return arrange


def weights_of(adapter: Adapter) -> dict[str, Any]:
    return load_file(Path(adapter.path) / "adapter_model.safetensors")


def test_a_run_ends_with_an_evaluated_registered_adapter(bench: Bench) -> None:
    job = bench.run(bench.submit(small_spec("", epochs=14)).id)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    (adapter,) = bench.adapters()
    assert job.result["adapter_id"] == adapter.id
    assert job.result["digest"] == adapter.digest == Path(adapter.path).name
    assert sorted(p.name for p in Path(adapter.path).iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    manifest = json.loads((Path(adapter.path) / "manifest.json").read_text())
    assert manifest["training_spec"]["epochs"] == 14
    assert manifest["dataset_digest"] == adapter.dataset_digest
    config = json.loads((Path(adapter.path) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    evaluation = job.result["evaluation"]
    assert evaluation["headline_slice"] == "new_values"
    assert evaluation["n"] == evaluation["slices"]["new_values"]["n"] == 6
    assert evaluation["base_exact_match"] == 0.0
    assert evaluation["adapter_json_validity"] > evaluation["base_json_validity"]
    assert all(sample["prompt"] for sample in evaluation["samples"])
    assert evaluation["adapter_answer_loss"] < evaluation["base_answer_loss"]
    assert evaluation["headline"]["answer_loss_change"][2] < 0
    curve = bench.points(job.id)
    assert [p.step for p in curve] == list(range(1, 6 * 14 + 1))
    assert curve[-1].loss is not None
    assert curve[0].loss is not None
    assert curve[-1].loss < 0.5 * curve[0].loss
    assert sum(p.validation_loss is not None for p in curve) >= 4
    assert all(p.learning_rate is not None and p.grad_norm is not None for p in curve)
    assert job.progress == 1.0
    assert not list(bench.settings.jobs_dir.glob("*/checkpoint-*"))


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(bench: Bench) -> None:
    spec = small_spec("", epochs=1, evaluate=False)
    one, same = (bench.run(bench.submit(spec).id).result for _ in range(2))
    other = bench.run(bench.submit(spec.model_copy(update={"seed": 1})).id).result
    assert one is not None
    assert same is not None
    assert other is not None
    assert one["digest"] == same["digest"] != other["digest"]
    assert [a.version for a in bench.adapters()] == [3, 2, 1]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_an_interrupted_run_ends_with_the_very_adapter_of_an_uninterrupted_one(
    bench: Bench, dropout: float, at_step: Hook
) -> None:
    spec = small_spec("", evaluate=False, lora={"rank": 4, "alpha": 8.0, "dropout": dropout})
    whole = bench.run(bench.submit(spec).id)
    job = bench.submit(spec)
    stop = Stop()
    at_step(8, stop.request)
    with pytest.raises(RunInterruptedError):
        bench.run(job.id, stop)
    assert bench.job(job.id).state is JobState.RUNNING
    assert {p.name for p in (bench.settings.jobs_dir / job.id).glob("checkpoint-*")} == {
        "checkpoint-5",
        "checkpoint-8",
    }
    resumed = bench.run(job.id)
    assert resumed.attempt == 2
    assert whole.result is not None
    assert resumed.result is not None
    assert resumed.result["digest"] == whole.result["digest"]
    before, after = bench.points(whole.id), bench.points(job.id)
    assert [(p.step, p.loss, p.validation_loss) for p in after] == [
        (p.step, p.loss, p.validation_loss) for p in before
    ]


def test_a_cancelled_run_stops_and_leaves_no_adapter(bench: Bench, at_step: Hook) -> None:
    job = bench.submit(small_spec("", epochs=60))
    stop = Stop()

    def cancel() -> None:
        with bench.database.transaction() as s:
            jobs.request_cancel(s, bench.tenant_id, job.id, now=datetime.now(UTC))
        stop.request()

    at_step(5, cancel)
    with pytest.raises(RunCancelledError):
        bench.run(job.id, stop)
    assert bench.adapters() == []


def test_a_cancel_is_noticed_without_any_signal(bench: Bench, at_step: Hook) -> None:
    job = bench.submit(small_spec("", epochs=100))

    def cancel() -> None:
        with bench.database.transaction() as s:
            jobs.request_cancel(s, bench.tenant_id, job.id, now=datetime.now(UTC))

    at_step(3, cancel)
    with pytest.raises(RunCancelledError):
        bench.run(job.id)
    assert len(bench.points(job.id)) < 300


def test_a_run_that_a_newer_attempt_has_taken_over_writes_nothing(bench: Bench) -> None:
    job = bench.submit(small_spec("", evaluate=False, epochs=1))
    old = bench.claim(job.id)
    new = bench.claim(job.id)
    assert new.attempt == 2
    with pytest.raises(ConflictError):
        run_training(
            old,
            database=bench.database,
            settings=bench.settings,
            stop=Stop(),
            clock=lambda: datetime.now(UTC),
        )
    assert bench.adapters() == []
    assert bench.points(job.id) == []


def test_a_loss_that_is_no_number_ends_the_run_with_advice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AdapterTrainer.compute_loss

    def poisoned(trainer: AdapterTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = real(trainer, *args, **kwargs)
        return loss * float("nan") if trainer.state.global_step == 3 else loss

    monkeypatch.setattr(AdapterTrainer, "compute_loss", poisoned)
    job = bench.submit(small_spec(""))
    with pytest.raises(DivergedError) as failure:
        bench.run(job.id)
    assert "step 4" in failure.value.why
    assert "learning rate" in failure.value.next_step
    assert bench.adapters() == []


def test_checkpoints_of_other_data_or_another_base_are_not_used(bench: Bench, at_step: Hook) -> None:
    job = bench.submit(small_spec("", evaluate=False))
    stop = Stop()
    at_step(8, stop.request)
    with pytest.raises(RunInterruptedError):
        bench.run(job.id, stop)
    folder = RunFolder(bench.settings.jobs_dir / job.id)
    identity = json.loads((folder.path / "run.json").read_text())
    assert folder.last_checkpoint() == folder.checkpoint(8)
    folder.begin(identity)
    assert folder.last_checkpoint() == folder.checkpoint(8)
    folder.begin(identity | {"base": "another"})
    assert folder.last_checkpoint() is None
    names = {p.name for p in bench.settings.home.rglob("*") if p.is_file()}
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_published_weights_are_float32_pairs_that_differ_from_zero(bench: Bench) -> None:
    bench.run(bench.submit(small_spec("", evaluate=False, epochs=1)).id)
    weights = weights_of(bench.adapters()[0])
    assert {str(w.dtype) for w in weights.values()} == {"float32"}
    assert all(np.abs(w).max() > 0 for w in weights.values())
    assert len(weights) == 2 * 7 * 2
