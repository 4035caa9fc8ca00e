"""The trainer's own parts: its loss, what it reports, when it must not go on, and quantized bases."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from core.errors import ConflictError
from core.jobs import service as jobs
from core.jobs.records import Job, JobPoint
from core.storage.database import Database
from core.tenants.records import Tenant
from core.training.callback import DivergedError, DivergenceWatch
from core.training.checkpoints import RunFolder
from core.training.failures import explain
from core.training.progress import Progress, RunCancelledError, RunInterruptedError, Stop
from tests.core.training.tiny_base import small_rows, small_spec

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def make_trainer(tiny_models: Path, folder: Path, **overrides: Any) -> Any:
    from core.datasets.records import Example, Split
    from core.engine.base import load_base
    from core.training.runner import build_trainer, quiet_libraries

    quiet_libraries()
    spec = small_spec("ds", **overrides)
    base = load_base(tiny_models / "base" / "tiny", quantization=spec.quantization, device="cpu")
    examples = [
        Example(str(r["prompt"]), str(r["completion"]), Split(str(r["split"])), None, i)
        for i, r in enumerate(small_rows(12, 0, 0))
    ]
    return build_trainer(spec, base, RunFolder(folder), examples, [], before_checkpoint=lambda: None)


def test_the_loss_is_that_of_trl_without_the_prompts_logits(tiny_models: Path, tmp_path: Path) -> None:
    import torch
    from trl import SFTTrainer

    trainer = make_trainer(tiny_models, tmp_path)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["labels"] == -100).any()
    ours = trainer.compute_loss(trainer.model, dict(batch))
    theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch))
    assert torch.allclose(ours, theirs, rtol=2e-2)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_an_adapter_trains_on_a_quantized_base(tiny_models: Path, tmp_path: Path, quantization: str) -> None:
    pytest.importorskip("bitsandbytes")
    trainer = make_trainer(tiny_models, tmp_path, quantization=quantization, epochs=6.0)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]


def test_a_falling_or_noisy_loss_is_let_be() -> None:
    watch = DivergenceWatch()
    for step in range(200):
        watch.see(step, 1.0 + (step % 7) * 0.3, 1.0)


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([1.0, float("nan")], "not a finite number"),
        ([1.0, float("inf")], "not a finite number"),
        ([0.6] * 30 + [5.0] * 30, "risen"),
        ([4.0] * 30 + [8.5] * 30, "risen"),
    ],
)
def test_a_loss_that_explodes_is_called_divergence(losses: list[float], says: str) -> None:
    watch = DivergenceWatch()

    def see_all() -> None:
        for step, loss in enumerate(losses):
            watch.see(step, loss, 0.5)

    with pytest.raises(DivergedError) as error:
        see_all()
    assert says in error.value.why
    assert "learning rate" in error.value.next_step


def test_a_gradient_that_is_no_number_is_divergence() -> None:
    with pytest.raises(DivergedError):
        DivergenceWatch().see(1, 1.0, float("nan"))


@pytest.fixture
def running(sqlite_database: Database, sqlite_tenant: Tenant) -> Job:
    with sqlite_database.transaction() as s:
        job = jobs.submit(s, sqlite_tenant.id, kind="train", name="n", spec={}, submitted_by="t", now=NOW)
    with sqlite_database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=NOW)
    assert claimed is not None
    return claimed


def steps_of(database: Database, job: Job) -> list[int]:
    with database.reading() as s:
        return [p.step for p in jobs.points(s, job.tenant_id, job.id)]


def test_points_are_written_in_few_transactions_and_none_is_lost(
    sqlite_database: Database, running: Job
) -> None:
    progress = Progress(sqlite_database, running, Stop(), lambda: NOW, least_interval_s=3600)
    progress.enter("training")
    for step in range(1, 21):
        progress.advance(step=step, total_steps=20)
        progress.note(JobPoint(step, NOW, loss=1.0 / step))
    assert steps_of(sqlite_database, running) == []
    progress.write()
    assert steps_of(sqlite_database, running) == list(range(1, 21))


def test_a_database_that_is_away_for_a_while_costs_no_point(
    sqlite_database: Database, running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(sqlite_database, running, Stop(), lambda: NOW, least_interval_s=0)
    real = sqlite_database.transaction

    def away() -> Any:
        raise OperationalError("BEGIN", {}, Exception("server closed the connection"))

    monkeypatch.setattr(sqlite_database, "transaction", away)
    progress.note(JobPoint(1, NOW, loss=2.0))
    progress.advance(step=1, total_steps=3)
    monkeypatch.setattr(sqlite_database, "transaction", real)
    progress.note(JobPoint(2, NOW, loss=1.0))
    progress.advance(step=2, total_steps=3)
    assert steps_of(sqlite_database, running) == [1, 2]


def test_a_stop_is_an_interruption_and_a_cancel_a_cancel(sqlite_database: Database, running: Job) -> None:
    stop = Stop()
    progress = Progress(sqlite_database, running, stop, lambda: NOW)
    stop.request()
    with pytest.raises(RunInterruptedError):
        progress.advance(step=1)
    with sqlite_database.transaction() as s:
        jobs.request_cancel(s, running.tenant_id, running.id, now=NOW)
    with pytest.raises(RunCancelledError):
        progress.advance(step=2)


def test_an_attempt_that_was_overtaken_may_not_report(sqlite_database: Database, running: Job) -> None:
    with sqlite_database.transaction() as s:
        assert jobs.claim(s, running.id, now=NOW, lapsed_before=NOW + timedelta(seconds=1))
    with pytest.raises(ConflictError):
        Progress(sqlite_database, running, Stop(), lambda: NOW).enter("training")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "memory",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (OSError(28, "No space left on device"), "disk"),
        (ZeroDivisionError("division by zero"), "not foreseen"),
    ],
)
def test_every_failure_is_told_in_words(error: Exception, what: str) -> None:
    told = explain(error)
    assert what in told.what
    assert told.next_step


def test_the_folder_of_a_run_forgets_all_but_two_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "job")
    for step in (5, 10, 100, 15):
        folder.checkpoint(step).mkdir(parents=True)
    folder.forget_older()
    assert [p.name for p in folder.checkpoints()] == ["checkpoint-15", "checkpoint-100"]
    assert folder.last_checkpoint() == folder.checkpoint(100)


def test_a_run_folder_sweeps_what_a_kill_left_and_keeps_what_belongs_to_the_worker(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "job")
    (folder.path / ".checkpoint-5.x.part").mkdir(parents=True)
    for name in ("lock", "fence", "log.txt"):
        (folder.path / name).write_text("worker's")
    folder.begin({"a": 1})
    assert sorted(p.name for p in folder.path.iterdir()) == ["fence", "lock", "log.txt", "run.json"]
    assert json.loads((folder.path / "run.json").read_text()) == {"a": 1}


def test_attention_in_float32_changes_no_answer_of_a_float32_base(tiny_models: Path) -> None:
    import torch

    from core.engine.base import load_base
    from core.training.attention import NAME, attend_in_float32

    model: Any = load_base(tiny_models / "base" / "tiny", device="cpu").model
    ids = torch.tensor([[5, 9, 20, 31, 7], [8, 8, 2, 4, 4]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        before = model(input_ids=ids, attention_mask=mask).logits
        attend_in_float32(model)
        assert model.config._attn_implementation == NAME
        after = model(input_ids=ids, attention_mask=mask).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(before, after)
    assert torch.allclose(before, mixed.float(), atol=0.2)
