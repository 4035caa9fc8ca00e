import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.datasets.records import Example, Split
from core.jobs.records import Job, JobState
from core.training.base_shape import read_base_shape
from core.training.estimate import (
    FinishedRun,
    Machine,
    RowLengths,
    adapter_parameters,
    estimate,
    finished_runs,
    memory_parts,
    total_steps,
    training_flops,
)
from core.training.prompts import TokenCounter
from core.training.records import TrainingSpec
from tests.core.training.tiny_base import small_spec

MACHINE = Machine(threads=2, on_gpu=False, free_bytes=8 << 30)
NOW = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def shape(tiny_models: Path) -> Any:
    return read_base_shape(tiny_models / "base" / "tiny", "tiny")


@pytest.fixture
def lengths() -> RowLengths:
    return RowLengths(train=tuple((60 + i % 5, 20) for i in range(50)), evaluated_answers=(20,) * 10)


@pytest.mark.parametrize(
    ("rows", "batch", "passes", "epochs", "steps"),
    [
        (400, 8, 1, 8, 400),
        (401, 8, 1, 8, 408),
        (50, 4, 2, 3, 21),
        (3, 8, 4, 1, 1),
        (40, 4, 1, 0.5, 5),
        (24, 4, 1, 1.1, 7),
    ],
)
def test_steps_are_counted_as_the_trainer_does(
    rows: int, batch: int, passes: int, epochs: float, steps: int
) -> None:
    spec = small_spec("ds", epochs=epochs, batch_size=batch, gradient_accumulation=passes)
    assert total_steps(spec, rows) == steps


def test_adapter_parameters_are_those_that_peft_makes(tiny_models: Path, shape: Any) -> None:
    from peft import get_peft_model

    from core.engine.base import load_base
    from core.training.runner import lora_config, quiet_libraries

    quiet_libraries()
    spec = small_spec("ds", lora={"rank": 5, "target_modules": ("q_proj", "down_proj")})
    base = load_base(tiny_models / "base" / "tiny", device="cpu")
    made = get_peft_model(base.model, lora_config(spec))
    trainable = sum(p.numel() for p in made.parameters() if p.requires_grad)
    assert adapter_parameters(spec, shape) == trainable


def test_token_counts_are_those_of_the_chat_template(tiny_models: Path) -> None:
    from transformers import AutoTokenizer

    folder = tiny_models / "base" / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples = [
        Example("Grüße, 漢字", '{"a":1}', Split.TRAIN, None, 1),
        Example("plain", "x" * 50, Split.TEST, None, 2, system="You answer in JSON."),
    ]
    for example, (whole, answer) in zip(examples, TokenCounter(folder).lengths(examples), strict=True):
        turns = [{"role": "user", "content": example.prompt}]
        if example.system:
            turns.insert(0, {"role": "system", "content": example.system})
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        turns.append({"role": "assistant", "content": example.completion})
        everything = tokenizer.apply_chat_template(turns, return_dict=False)
        assert (whole, answer) == (len(everything), len(everything) - len(asked))


def test_float32_keeps_twice_the_activations_and_no_second_copy_of_the_weights(
    shape: Any, lengths: RowLengths
) -> None:
    mixed = memory_parts(small_spec("ds"), lengths, shape, replace(MACHINE, mixed_precision=True))
    whole = memory_parts(small_spec("ds"), lengths, shape, replace(MACHINE, mixed_precision=False))
    assert whole["activations"] == 2 * mixed["activations"]
    assert mixed["overhead"] - whole["overhead"] == round(mixed["weights"] / 2)
    assert whole["logits"] == mixed["logits"]


def test_memory_is_the_sum_of_its_parts_and_grows_with_what_costs(shape: Any, lengths: RowLengths) -> None:
    spec = small_spec("ds")
    parts = memory_parts(spec, lengths, shape, MACHINE)
    assert set(parts) == {"weights", "adapter", "optimizer", "activations", "logits", "overhead"}
    assert parts["logits"] == spec.batch_size * 20 * shape.vocabulary * 12
    assert parts["weights"] == 4 * (shape.weights.linear + shape.weights.other)
    double = memory_parts(small_spec("ds", batch_size=8, lora={"rank": 8}), lengths, shape, MACHINE)
    assert double["activations"] == 2 * parts["activations"]
    assert double["adapter"] == 2 * parts["adapter"]
    small = memory_parts(small_spec("ds", quantization="4bit"), lengths, shape, MACHINE)
    assert small["weights"] < parts["weights"]
    whole = estimate(spec, lengths, shape, MACHINE)
    assert whole.memory_bytes >= sum(parts.values())
    assert whole.fits
    assert not estimate(spec, lengths, shape, replace(MACHINE, free_bytes=1 << 20)).fits


def test_work_grows_with_tokens_and_passes(shape: Any, lengths: RowLengths) -> None:
    once = training_flops(small_spec("ds", epochs=1.0), lengths, shape)
    assert training_flops(small_spec("ds", epochs=3.0), lengths, shape) == pytest.approx(3 * once)
    tokens = sum(whole for whole, _ in lengths.train)
    assert once > 4 * tokens * shape.linear_parameters


def finished(seconds: float, *, base: str = "tiny", attempt: int = 1, **changes: Any) -> Job:
    training = {"seconds": seconds, "flops": 1e9, "base": base, "evaluated_tokens": 200}
    job = Job(
        "job_1", "ten", "train", "n", JobState.SUCCEEDED, {}, "done", 1, 1, None, attempt, "f", False, "me",
        {"seconds": seconds + 14, "training": training, "evaluation": {"seconds": 4.0}},
        None, NOW, NOW, NOW, NOW,
    )  # fmt: skip
    return replace(job, **changes)


def test_finished_runs_calibrate_the_time(shape: Any, lengths: RowLengths) -> None:
    spec = small_spec("ds")
    flops = training_flops(spec, lengths, shape)
    runs = finished_runs([finished(10.0 * k) for k in (0.9, 1.0, 1.1, 1.0, 1.0, 0.95)])
    assert [run.rest for run in runs] == [10.0] * 6
    guess = estimate(spec, lengths, shape, MACHINE, runs)
    expected = flops * 10.0 / 1e9 + 200 * 4.0 / 200 + 10.0
    assert guess.calibrated_from_runs == 6
    assert guess.seconds_low < expected < guess.seconds_high
    assert guess.seconds_high / guess.seconds_low < 1.6
    wide = estimate(spec, lengths, shape, MACHINE)
    assert wide.calibrated_from_runs == 0
    assert wide.seconds_high / wide.seconds_low > 4


def test_runs_of_the_same_base_count_before_others(shape: Any, lengths: RowLengths) -> None:
    same = FinishedRun("tiny", 1e-9, 0.01, 5.0)
    other = FinishedRun("large", 1e-6, 0.01, 5.0)
    only = estimate(small_spec("ds"), lengths, shape, MACHINE, [same])
    assert estimate(small_spec("ds"), lengths, shape, MACHINE, [other, same, other]) == only


def test_runs_that_were_resumed_or_failed_say_nothing_about_time() -> None:
    assert finished_runs([finished(5.0, attempt=2)]) == []
    assert finished_runs([finished(5.0, state=JobState.FAILED, result=None)]) == []
    assert len(finished_runs([finished(5.0)])) == 1


def test_the_band_of_a_spec_is_plain_json_numbers(shape: Any, lengths: RowLengths) -> None:
    guess = estimate(TrainingSpec.model_validate(small_spec("ds").model_dump()), lengths, shape, MACHINE)
    assert json.loads(json.dumps(guess.memory_parts)) == guess.memory_parts
    assert guess.train_tokens == round(sum(w for w, _ in lengths.train) * 4.0)
