"""The answers of the fast path are those of plain greedy decoding, token by token."""

from pathlib import Path
from typing import Any

import pytest

from core.datasets.records import Example, Split
from core.training.answers import Question, Row, greedy_answers, questions
from core.training.score import Answered
from tests.core.training.tiny_base import small_rows

ROOM = 24


@pytest.fixture(scope="module")
def loaded(tiny_models: Path) -> Any:
    from core.engine.base import load_base

    return load_base(tiny_models / "base" / "tiny", threads=1, device="cpu")


def plain_greedy(model: Any, prompt: list[int], ends: frozenset[int], room: int) -> list[int]:
    """The oracle: the whole prefix is read again for every token."""
    import torch

    made: list[int] = []
    with torch.inference_mode():
        while len(made) < room and not (made and made[-1] in ends):
            logits = model(input_ids=torch.tensor([prompt + made])).logits
            made.append(int(logits[0, -1].argmax()))
    return made


def texts_of(answers: list[Answered]) -> list[str]:
    return [answer.text for answer in answers]


def asked_of(loaded: Any, texts: list[tuple[str, str]]) -> list[Question]:
    examples = [Example(p, c, Split.TEST, None, i) for i, (p, c) in enumerate(texts)]
    return questions(loaded.tokenizer, examples)


def plain_nats(model: Any, question: Question) -> float:
    """The oracle: each expected token's surprise, from a pass over all that stands before it."""
    import torch

    total = 0.0
    with torch.inference_mode():
        for place, token in enumerate(question.expected):
            before = question.prompt + question.expected[:place]
            logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
            total -= float(torch.log_softmax(logits, -1)[token])
    return total


def oracle_texts(loaded: Any, asked: list[Question], ends: frozenset[int]) -> list[str]:
    texts = []
    for question in asked:
        ids = plain_greedy(loaded.model, question.prompt, ends, ROOM)
        kept = ids[:-1] if ids[-1] in ends else ids
        texts.append(loaded.tokenizer.decode(kept, skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("batch_rows", [1, 5, 64])
def test_any_batch_gives_the_answers_of_plain_greedy_decoding(loaded: Any, batch_rows: int) -> None:
    asked = asked_of(loaded, [(str(r["prompt"]), str(r["completion"])) for r in small_rows(12, 0, 8)])
    texts = greedy_answers(
        loaded.model,
        loaded.tokenizer,
        asked,
        ends=loaded.end_tokens,
        max_new_tokens=ROOM,
        batch_rows=batch_rows,
        alive=lambda _rows: None,
    )
    assert texts_of(texts) == oracle_texts(loaded, asked, loaded.end_tokens)
    assert len(set(texts_of(texts))) > 1
    for answer, question in zip(texts, asked, strict=True):
        assert answer.tokens == len(question.expected)
        assert answer.nats == pytest.approx(plain_nats(loaded.model, question), rel=1e-4)
    assert len({round(answer.nats or 0, 3) for answer in texts}) > 4


def test_right_half_right_and_wrong_drafts_change_no_answer(loaded: Any) -> None:
    prompts = [f"question {i}" for i in range(6)]
    ends = frozenset({*loaded.end_tokens, 40})
    plain = asked_of(loaded, [(prompt, "x") for prompt in prompts])
    truth = [plain_greedy(loaded.model, q.prompt, ends, ROOM) for q in plain]
    drafts = [
        truth[0],
        truth[1][: len(truth[1]) // 2],
        [*truth[2][:3], 50, *truth[2][4:]],
        [60] * 30,
        [],
        [*truth[5], 0],
    ]
    asked = [Question(q.prompt, list(draft)) for q, draft in zip(plain, drafts, strict=True)]
    texts = greedy_answers(
        loaded.model,
        loaded.tokenizer,
        asked,
        ends=ends,
        max_new_tokens=ROOM,
        batch_rows=4,
        alive=lambda _rows: None,
    )
    assert texts_of(texts) == oracle_texts(loaded, plain, ends)
    assert (texts[4].nats, texts[4].tokens) == (None, 0)


def test_progress_ends_with_all_rows_and_an_exception_from_it_ends_the_work(loaded: Any) -> None:
    asked = asked_of(loaded, [(f"q{i}", "answer") for i in range(7)])
    seen: list[int] = []
    greedy_answers(
        loaded.model,
        loaded.tokenizer,
        asked,
        ends=loaded.end_tokens,
        max_new_tokens=8,
        batch_rows=3,
        alive=seen.append,
    )
    assert seen == sorted(seen)
    assert seen[-1] == 7

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        greedy_answers(
            loaded.model,
            loaded.tokenizer,
            asked,
            ends=loaded.end_tokens,
            max_new_tokens=8,
            batch_rows=3,
            alive=stop,
        )


def test_a_base_with_a_sliding_window_gives_the_same_answers(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(loaded, [(f"sliding {i}", '{"a":1}') for i in range(5)])
    options: dict[str, Any] = {
        "ends": loaded.end_tokens,
        "max_new_tokens": ROOM,
        "batch_rows": 3,
        "alive": lambda _rows: None,
    }
    fast = greedy_answers(loaded.model, loaded.tokenizer, asked, **options)
    monkeypatch.setattr("core.training.answers._reads_all_slots", lambda *_: False)
    slow = greedy_answers(loaded.model, loaded.tokenizer, asked, **options)
    assert texts_of(slow) == texts_of(fast)
    assert [a.nats for a in slow] == pytest.approx([a.nats for a in fast], rel=1e-4)


def test_a_row_keeps_a_draft_as_far_as_the_model_agrees_and_then_its_own_token() -> None:
    row = Row(0, Question([1], [5, 6, 7, 2]), room=10, ends=frozenset({2}))
    assert row.take([5, 6, 7, 2], [5, 6, 9, 9, 9]) == 2
    assert row.answer == [5, 6, 9]
    assert not row.done
    assert row.take([7, 2], [7, 2, 3]) == 1
    assert row.answer == [5, 6, 9, 7, 2]
    assert row.done


def test_a_draft_is_what_follows_the_last_tokens_nearest_to_the_place() -> None:
    row = Row(0, Question([30, 31, 32], [5, 6, 7, 5, 6, 8, 9]), room=20, ends=frozenset())
    row.answer = [1, 2, 3, 5, 6]
    assert row.draft(3) == [8, 9]
    row.answer = [30, 31]
    assert row.draft(4) == [32]
    row.answer = [99]
    assert row.draft(4) == []
