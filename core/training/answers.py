"""Greedy answers of a model to many prompts, fast enough for two CPU cores.

A model is asked about rows whose expected answer is known. One pass over prompt and expected answer tells how far
the model, left alone, would write just that: as long as its most probable next token is the expected one. Only
from the first other token on is anything generated. This is speculative decoding (Leviathan et al. 2023) with
the expected answer as the draft: the answers are those of plain greedy decoding, a good adapter's come many times
faster. The draft never changes an answer, only who computes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.datasets.records import Example
from core.training.prompts import answer_turns, prompt_turns

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out row as tokens: the prompt, and the expected answer up to and with its end."""

    prompt: list[int]
    draft: list[int]


def questions(tokenizer: Any, examples: Sequence[Example]) -> list[Question]:
    """Rows as token ids, by the base's chat template, as in training and serving."""
    asked = []
    for example in examples:
        turns = prompt_turns(example)
        prompt = _ids(tokenizer, turns, add_generation_prompt=True)
        whole = _ids(tokenizer, [*turns, *answer_turns(example)], add_generation_prompt=False)
        same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        asked.append(Question(prompt, whole[same:] if same == len(prompt) else []))
    return asked


@torch.inference_mode()
def greedy_answers(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Question],
    *,
    max_new_tokens: int,
    batch_rows: int,
    alive: Callable[[int], None],
) -> list[str]:
    """The text that `model` writes to each question, turn markers left out.

    `alive(rows answered)` is called after each batch; what it raises ends the work. Rows of a batch have similar
    lengths, so little is padded.
    """
    ends = _end_tokens(model, tokenizer)
    answers: list[list[int]] = [[] for _ in asked]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt) + len(asked[i].draft))
    open_rows: list[int] = []
    done = 0
    for rows in _batches(order, batch_rows):
        for row, accepted in zip(rows, _accept(model, [asked[i] for i in rows], ends), strict=True):
            answers[row] = accepted[:max_new_tokens]
            if not (set(accepted) & ends) and len(accepted) < max_new_tokens:
                open_rows.append(row)
        done += len(rows)
        alive(done - len(open_rows))
    open_rows.sort(key=lambda i: (len(asked[i].draft) - len(answers[i]), len(asked[i].prompt)))
    for rows in _batches(open_rows, batch_rows):
        prefixes = [asked[i].prompt + answers[i] for i in rows]
        room = max(max_new_tokens - len(answers[i]) for i in rows)
        for row, more in zip(rows, _continue(model, tokenizer, prefixes, room), strict=True):
            answers[row] = (answers[row] + more)[:max_new_tokens]
        done += len(rows)
        alive(done - len(open_rows))
    return [_text(tokenizer, ids, ends) for ids in answers]


def _accept(model: Any, rows: Sequence[Question], ends: set[int]) -> list[list[int]]:
    """Per row: the draft as far as the model agrees, then the model's own next token."""
    width = max(len(q.prompt) + len(q.draft) for q in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for row, q in enumerate(rows):
        tokens = q.prompt + q.draft
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    device = model.device
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    accepted = []
    for row, q in enumerate(rows):
        start = len(q.prompt) - 1
        choice = logits[row, start : start + len(q.draft) + 1].argmax(-1).tolist()
        agreed = 0
        while agreed < len(q.draft) and choice[agreed] == q.draft[agreed] and q.draft[agreed] not in ends:
            agreed += 1
        accepted.append(choice[: agreed + 1])
    return accepted


def _continue(model: Any, tokenizer: Any, prefixes: Sequence[list[int]], room: int) -> list[list[int]]:
    """What the model writes after each prefix, at most `room` tokens, the end included."""
    width = max(map(len, prefixes))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.full((len(prefixes), width), pad, dtype=torch.long)
    mask = torch.zeros(len(prefixes), width, dtype=torch.long)
    for row, tokens in enumerate(prefixes):
        ids[row, width - len(tokens) :] = torch.tensor(tokens)
        mask[row, width - len(tokens) :] = 1
    made = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=room,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        use_cache=True,
    )
    return [list(row) for row in made[:, width:].tolist()]


def _text(tokenizer: Any, ids: Sequence[int], ends: set[int]) -> str:
    kept: list[int] = []
    for token in ids:
        if token in ends:
            break
        kept.append(token)
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    found = model.generation_config.eos_token_id
    ends = set(found) if isinstance(found, list) else {found}
    return {token for token in ends | {tokenizer.eos_token_id} if token is not None}


def _ids(tokenizer: Any, turns: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
    made = tokenizer.apply_chat_template(
        list(turns), add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
    )
    return list(made)


def _batches(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
