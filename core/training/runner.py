"""One training job, from its row to its adapter. Read it from top to bottom.

Every stage leaves something whole in the job's folder, so an attempt goes on where the one before it was killed:
checkpoints while it trains, the trained adapter, its evaluation, the published folder, and at last one transaction
that registers the adapter and ends the job.
"""

import json
import resource
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from peft import LoraConfig, PeftModel, prepare_model_for_kbit_training
from transformers import PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl import SFTConfig

from core.datasets.records import Example, Split
from core.engine.base import LoadedBase, load_base
from core.errors import IntegrityError
from core.jobs import service as jobs
from core.jobs.records import Job
from core.registry import service as registry
from core.registry.package import publish
from core.registry.records import AdapterSource
from core.settings import Settings
from core.storage.database import Database
from core.storage.digests import digest_adapter_folder, digest_base_folder
from core.storage.files import staged_directory, write_atomically
from core.training.attention import attend_in_float32
from core.training.bfloat16 import cpu_multiplies_bfloat16
from core.training.callback import Reporter
from core.training.checkpoints import RunFolder
from core.training.cpu import training_threads
from core.training.estimate import SECONDS_PER_EVALUATED_TOKEN, total_steps
from core.training.evaluate import evaluate_adapter, evaluation_document, held_out_rows
from core.training.progress import Clock, Progress, Stop
from core.training.prompts import answer_turns, prompt_turns
from core.training.publish import library_versions, make_manifest
from core.training.records import TrainingSpec
from core.training.service import MODELS_DIR, Work, look_up, prepare
from core.training.trainer import AdapterTrainer, save_adapter
from datasets import Dataset as Table
from datasets import disable_progress_bars

MOST_POINTS = 1000
MOST_VALIDATIONS = 8


def run_training(
    job: Job,
    *,
    database: Database,
    settings: Settings,
    stop: Stop,
    clock: Clock,
    models_dir: Path = MODELS_DIR,
) -> None:
    """Run a claimed job to its end: on return it has succeeded with exactly one adapter.

    Raises RunCancelledError, RunInterruptedError, ConflictError when a newer attempt owns the job, and any
    RmnError that says why the job cannot be done; what to write into the row then is the caller's business.
    """
    spec = TrainingSpec.model_validate(job.spec)
    folder = RunFolder(settings.jobs_dir / job.id)
    progress = Progress(database, job, stop, clock)
    progress.enter("preparing")
    with database.reading() as s:
        known = look_up(s, job.tenant_id, spec)
    work = prepare(spec, known, settings=settings, models_dir=models_dir)
    folder.begin(_identity(work))

    quiet_libraries()
    set_seed(spec.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would write every new tensor once more. Set by name: the module hides it from type checkers.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    progress.enter("loading the base")
    base = load_base(
        work.base.folder,
        quantization=spec.quantization,
        dtype=settings.base_dtype,
        device=settings.device,
        threads=training_threads(settings.training_threads, work.base.parameters),
    )
    if folder.trained.is_dir():
        model = PeftModel.from_pretrained(base.model, folder.trained)
    else:
        model = _train(work, base, folder, progress, stop, clock)
    if spec.evaluate and not folder.evaluation.is_file():
        _evaluate(work, base, model, folder, progress)
    _publish(job, work, base, folder, progress, database, settings, clock)
    folder.finish()


def _identity(work: Work) -> dict[str, Any]:
    """What a checkpoint belongs to: with other data, base, values or libraries it is worth nothing."""
    return {
        "spec": work.spec.model_dump(mode="json"),
        "dataset": work.dataset.digest,
        "base": digest_base_folder(work.base.folder),
        "versions": library_versions(),
    }


def _train(
    work: Work, base: LoadedBase, folder: RunFolder, progress: Progress, stop: Stop, clock: Clock
) -> Any:
    train, validation = (
        [e for e in work.examples if e.split is split] for split in (Split.TRAIN, Split.VALIDATION)
    )
    trainer = build_trainer(work.spec, base, folder, train, validation, before_checkpoint=progress.flush)
    after_s = sum(work.lengths.evaluated_answers) * SECONDS_PER_EVALUATED_TOKEN
    reporter = Reporter(progress, stop, clock, lambda: trainer.tokens_seen, after_s=after_s)
    trainer.add_callback(reporter)
    progress.enter("training")
    started, first = monotonic(), folder.last_checkpoint()
    trainer.train(resume_from_checkpoint=str(first) if first else None)
    figures = _figures(trainer, monotonic() - started, clock) | {
        "base": work.base.name,
        "flops": work.flops,
        "evaluated_tokens": sum(work.lengths.evaluated_answers),
    }
    write_atomically(folder.training, json.dumps(figures, indent=1).encode())
    with staged_directory(folder.trained) as staging:
        save_adapter(trainer.model, staging, base.name)
    # Without the mixed precision of training: a run that is resumed after it is judged by the same numbers.
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


def build_trainer(
    spec: TrainingSpec,
    base: LoadedBase,
    folder: RunFolder,
    train: Sequence[Example],
    validation: Sequence[Example],
    *,
    before_checkpoint: Callable[[], object],
) -> AdapterTrainer:
    """The trainer of a run, with a fresh adapter on the base."""
    model: Any = base.model
    if base.device.type == "cpu":
        attend_in_float32(model)
    if spec.quantization != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    trainer = AdapterTrainer(
        run=folder,
        base_name=base.name,
        before_checkpoint=before_checkpoint,
        model=model,
        args=_arguments(spec, folder, len(train), bool(validation), base),
        train_dataset=_table(train),
        eval_dataset=_table(validation) if validation else None,
        processing_class=base.tokenizer,
        peft_config=lora_config(spec),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def lora_config(spec: TrainingSpec) -> LoraConfig:
    """PEFT's configuration of the adapter."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.lora.rank,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        use_rslora=spec.lora.rslora,
        target_modules=list(spec.lora.target_modules),
        bias="none",
    )


def _arguments(
    spec: TrainingSpec, folder: RunFolder, rows: int, validate: bool, base: LoadedBase
) -> SFTConfig:
    steps = total_steps(spec, rows)
    log_every = -(-steps // MOST_POINTS)
    validate_every = max(1, -(-steps // MOST_VALIDATIONS))
    # A checkpoint between two readings would split the mean that the second one shows.
    save_every = -(-spec.checkpoint_every // log_every) * log_every
    return SFTConfig(
        output_dir=str(folder.path),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.schedule if spec.schedule != "constant" else "constant_with_warmup",
        warmup_steps=int(steps * spec.warmup_ratio),
        weight_decay=spec.weight_decay,
        max_length=None,
        completion_only_loss=True,
        seed=spec.seed,
        data_seed=spec.seed,
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save_every,
        eval_strategy="steps" if validate else "no",
        eval_steps=validate_every,
        prediction_loss_only=True,
        use_cpu=base.device.type == "cpu",
        bf16=trains_in_bfloat16(base.device),
        gradient_checkpointing=base.device.type == "cuda",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=base.device.type == "cuda",
        save_total_limit=None,
    )


def trains_in_bfloat16(device: torch.device) -> bool:
    """Whether mixed precision in bfloat16 is faster here: GPUs that have it, CPUs that multiply in it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return cpu_multiplies_bfloat16()


def _table(rows: Sequence[Example]) -> Table:
    return Table.from_list([{"prompt": prompt_turns(row), "completion": answer_turns(row)} for row in rows])


def _figures(trainer: AdapterTrainer, seconds: float, clock: Clock) -> dict[str, Any]:
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    validation = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "tokens": trainer.tokens_seen,
        "final_loss": sum(losses[-10:]) / len(losses[-10:]),
        "final_validation_loss": validation[-1] if validation else None,
        "parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "finished_at": clock().isoformat(),
    }


def _evaluate(work: Work, base: LoadedBase, model: Any, folder: RunFolder, progress: Progress) -> None:
    rows = held_out_rows(work.examples, work.spec.evaluation_rows, work.spec.seed)
    if not rows:
        return
    evaluation = evaluate_adapter(
        model,
        base.tokenizer,
        rows,
        ends=base.end_tokens,
        dataset_digest=work.dataset.digest,
        stage=progress.enter,
        alive=lambda _share: progress.advance(),
    )
    document = evaluation_document(evaluation)
    write_atomically(folder.evaluation, json.dumps(document, ensure_ascii=False).encode())


def _publish(
    job: Job,
    work: Work,
    base: LoadedBase,
    folder: RunFolder,
    progress: Progress,
    database: Database,
    settings: Settings,
    clock: Clock,
) -> None:
    progress.enter("publishing")
    training = json.loads(folder.training.read_text("utf-8"))
    evaluation = json.loads(folder.evaluation.read_text("utf-8")) if folder.evaluation.is_file() else None
    manifest = make_manifest(
        folder.trained,
        work.spec,
        work.dataset,
        base_name=base.name,
        base_digest=base.digest,
        parameters=training["parameters"],
        training=training,
        evaluation=evaluation,
    )
    published = publish(folder.trained, manifest, settings.adapters_dir)
    if digest_adapter_folder(published) != manifest.digest:
        raise IntegrityError(
            "The published adapter is not the one that was trained.",
            f"The files in {published.name[:12]}… are damaged.",
            "Check the disk, remove that folder, and train again.",
        )
    with database.transaction() as s:
        now = clock()
        adapter = registry.register_adapter(
            s,
            job.tenant_id,
            folder=published,
            manifest=manifest,
            source=AdapterSource.TRAINED,
            job_id=job.id,
            now=now,
        )
        result = {
            "adapter_id": adapter.id,
            "name": adapter.name,
            "version": adapter.version,
            "digest": adapter.digest,
            "seconds": (now - (job.started_at or now)).total_seconds(),
            "training": training,
            "evaluation": evaluation,
        }
        jobs.succeed(s, job.id, job.fence, result=result, now=now)


def quiet_libraries() -> None:
    """No progress bars in the log, and no warnings about what was decided on purpose."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    warnings.filterwarnings("ignore", module=r"(transformers|trl|peft|accelerate|torch|bitsandbytes)\b.*")
