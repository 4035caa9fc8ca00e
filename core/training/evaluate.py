"""An adapter against its base on held-out rows: the same rows, the same greedy decoding."""

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from time import monotonic
from typing import Any

from core.datasets.records import Example, Split
from core.errors import InvalidInputError
from core.training.records import Evaluation, SampleAnswer
from core.training.score import Answered, RowScore, score_answered, score_slice

HEADLINE_SLICE = "new_values"
BATCH_ROWS = 32
SAMPLES, WRONG_SAMPLES = 24, 12
MARGIN = 1.25


def held_out_rows(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Test rows in the order of the file; a seeded draw where there are more than `most`."""
    rows = [example for example in examples if example.split is Split.TEST]
    if len(rows) > most:
        rows = sorted(random.Random(seed).sample(rows, most), key=lambda example: example.line)
    return rows


def evaluate_adapter(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Example],
    *,
    ends: frozenset[int],
    dataset_digest: str,
    stage: Callable[[str], None],
    alive: Callable[[float], None],
) -> Evaluation:
    """Ask base and adapter of a PEFT `model` about `rows` and compare.

    `ends` are the tokens that end an answer. `stage` is told what happens now, `alive` the share that is done; what
    it raises ends the evaluation. Raises InvalidInputError when there are no rows.
    """
    from core.training.answers import greedy_answers, questions

    if not rows:
        raise InvalidInputError(
            "There is nothing to evaluate on.",
            "The dataset has no test rows.",
            "Use a dataset with a test split, or train without evaluation.",
        )
    started = monotonic()
    model.eval()
    asked = questions(tokenizer, rows)
    room = int(max(len(q.expected) for q in asked) * MARGIN) + 8
    context = getattr(model.config, "max_position_embeddings", None)
    if context:
        room = max(1, min(room, context - max(len(q.prompt) for q in asked)))
    answers: dict[str, list[Answered]] = {}
    for who in ("base", "adapter"):
        stage(f"evaluating the {who}")
        if who == "adapter" and not _quantized(model):
            # In float32 the merged weights answer as the adapter does, without its extra multiplications.
            model.merge_adapter()
        with model.disable_adapter() if who == "base" else nullcontext():
            answers[who] = greedy_answers(
                model,
                tokenizer,
                asked,
                ends=ends,
                max_new_tokens=room,
                batch_rows=BATCH_ROWS,
                alive=lambda done: alive(done / len(asked)),
            )
    return compare(rows, answers["base"], answers["adapter"], dataset_digest, monotonic() - started)


def compare(
    rows: Sequence[Example],
    base_answers: Sequence[Answered],
    adapter_answers: Sequence[Answered],
    dataset_digest: str,
    seconds: float,
) -> Evaluation:
    """Scores of both answers to the same rows, headline and slices apart. Pure."""
    base = [score_answered(a, row.completion) for a, row in zip(base_answers, rows, strict=True)]
    adapter = [score_answered(a, row.completion) for a, row in zip(adapter_answers, rows, strict=True)]
    names = sorted({row.slice for row in rows if row.slice})
    slices = {name: score_slice(*_of_slice(rows, name, base, adapter)) for name in names}
    headline = HEADLINE_SLICE if HEADLINE_SLICE in slices else None
    wrong = [i for i, score in enumerate(adapter) if not score.exact][:WRONG_SAMPLES]
    right = [i for i, score in enumerate(adapter) if score.exact][: SAMPLES - len(wrong)]
    return Evaluation(
        headline_slice=headline,
        headline=slices[headline] if headline else score_slice(base, adapter),
        slices=slices,
        samples=tuple(
            SampleAnswer(
                rows[i].prompt,
                rows[i].completion,
                base_answers[i].text,
                adapter_answers[i].text,
                rows[i].slice,
            )
            for i in sorted(wrong + right)
        ),
        dataset_digest=dataset_digest,
        seconds=seconds,
    )


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON, with the headline's figures as flat keys too.

    n, base_exact_match, adapter_exact_match, exact_match_lift, base_json_validity, adapter_json_validity,
    base_field_accuracy, adapter_field_accuracy: shares of 1, None where the expected answers are no JSON.
    base_answer_loss, adapter_answer_loss, answer_loss_change: nats per token. main_figure: the one to look at first.
    """
    document = asdict(evaluation)
    headline = document["headline"]
    for name, figure in headline.items():
        document[name] = figure["value"] if isinstance(figure, dict) else figure
    document["exact_match_lift"] = headline["exact_match_lift"][0]
    change = headline["answer_loss_change"]
    document["answer_loss_change"] = None if change is None else change[0]
    document["main_figure"] = evaluation.headline.main_figure
    return document


def _of_slice(
    rows: Sequence[Example], name: str, base: Sequence[RowScore], adapter: Sequence[RowScore]
) -> tuple[list[RowScore], list[RowScore]]:
    members = [i for i, row in enumerate(rows) if row.slice == name]
    return [base[i] for i in members], [adapter[i] for i in members]


def _quantized(model: Any) -> bool:
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))
