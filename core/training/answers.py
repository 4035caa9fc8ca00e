"""Greedy answers of a model to many rows whose expected answer is known, fast enough for two CPU cores.

The expected answer, and what the prompt says, are drafts: tokens that the model may well write next. It reads several
of them in one pass and keeps those that it would have written itself, up to its own first other token; from there it
goes on with the next draft that fits. This is speculative decoding (Leviathan et al. 2023; drafts by look-up: Saxena
2023) and writes the very tokens of plain greedy decoding. A draft never changes an answer, only how fast it is
there: a good adapter needs one pass for a whole row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from core.datasets.records import Example
from core.training.prompts import answer_turns, prompt_turns
from core.training.score import Answered

# Tokens of all rows that one pass reads: more are slower to read than they save on a CPU.
PASS_TOKENS = 192
LONGEST_DRAFT = 16
REPACK_HOLES = 32


@dataclass(slots=True)
class Question:
    """One held-out row as tokens: the prompt, and the expected answer up to and with its end."""

    prompt: list[int]
    expected: list[int]


@dataclass(slots=True)
class Row:
    """A row that is being answered. The last token of `answer` has not been read by the model yet."""

    number: int
    question: Question
    room: int
    ends: frozenset[int]
    answer: list[int] = field(default_factory=list)
    nats: float | None = None

    @property
    def done(self) -> bool:
        """Whether the answer has its end, or no room is left."""
        return len(self.answer) >= self.room or (bool(self.answer) and self.answer[-1] in self.ends)

    def take(self, draft: Sequence[int], chosen: Sequence[int]) -> int:
        """Keep the draft as far as the model chose the same, then its own token. Returns how much was kept."""
        for kept, token in enumerate(chosen):
            self.answer.append(token)
            if self.done or kept >= len(draft) or token != draft[kept]:
                return kept
        return len(draft)

    def draft(self, most: int) -> list[int]:
        """Tokens that may come next: what follows the last two tokens in the expected answer, or in the prompt."""
        most = min(most, self.room - len(self.answer) - 1)
        if most <= 0:
            return []
        for source in (self.question.expected, self.question.prompt):
            for length in (2, 1) if source is self.question.expected else (2,):
                place = _nearest(source, self.answer[-length:], len(self.answer))
                if place is not None:
                    return source[place : place + most]
        return []


def questions(tokenizer: Any, examples: Sequence[Example]) -> list[Question]:
    """Rows as token ids, by the base's chat template, as in training and serving."""
    asked = []
    for example in examples:
        turns = prompt_turns(example)
        prompt = _ids(tokenizer, turns, add_generation_prompt=True)
        whole = _ids(tokenizer, [*turns, *answer_turns(example)], add_generation_prompt=False)
        asked.append(Question(prompt, whole[len(prompt) :] if whole[: len(prompt)] == prompt else []))
    return asked


@torch.inference_mode()
def greedy_answers(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Question],
    *,
    ends: frozenset[int],
    max_new_tokens: int,
    batch_rows: int,
    alive: Callable[[int], None],
) -> list[Answered]:
    """The text that `model` writes to each question, turn markers left out, and its loss of the expected answer.

    `alive(rows answered)` is called often; what it raises ends the work. Rows of a batch have similar lengths, so
    little is padded.
    """
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt) + len(asked[i].expected))
    rows = [Row(i, asked[i], max_new_tokens, ends) for i in order]
    write = _write_batch if _reads_all_slots(model, asked, max_new_tokens) else _write_plainly
    for start in range(0, len(rows), batch_rows):
        batch = rows[start : start + batch_rows]
        for left in write(model, batch):
            alive(start + len(batch) - left)
    return [
        Answered(_text(tokenizer, row.answer, ends), row.nats, len(row.question.expected))
        for row in sorted(rows, key=lambda row: row.number)
    ]


def _write_batch(model: Any, rows: Sequence[Row]) -> Iterator[int]:
    """Answer all rows; after each pass says how many are not done yet."""
    cache, mask = _read_prompts(model, rows)
    open_rows = [row for row in rows if not row.done]
    keep = [i for i, row in enumerate(rows) if not row.done]
    while open_rows:
        yield len(open_rows)
        if len(keep) < mask.shape[0] or mask.shape[1] - int(mask.sum(1).max()) >= REPACK_HOLES:
            cache, mask = _repack(cache, mask, keep)
        mask = _one_pass(model, open_rows, cache, mask)
        keep = [i for i, row in enumerate(open_rows) if not row.done]
        open_rows = [open_rows[i] for i in keep]
    yield 0


def _read_prompts(model: Any, rows: Sequence[Row]) -> tuple[DynamicCache, torch.Tensor]:
    """Read prompts with the whole expected answers as drafts. Gives the keys and values, and which slots hold."""
    cache = DynamicCache()
    logits, mask = _read_expected(model, rows, past_key_values=cache, use_cache=True)
    for i, row in enumerate(rows):
        kept = row.take(row.question.expected, logits[i].argmax(-1).tolist())
        mask[i, len(row.question.prompt) + kept :] = 0
    return cache, mask


def _read_expected(
    model: Any, rows: Sequence[Row], **options: Any
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Read prompts and expected answers; notes each row's loss.

    Gives the mask (rows, width), and per row the logits (expected tokens + 1, vocabulary) from which each token of
    the expected answer, and the one behind it, would be chosen.
    """
    whole = [row.question.prompt + row.question.expected for row in rows]
    width, shortest = max(map(len, whole)), min(len(row.question.prompt) for row in rows)
    ids, mask = _padded(whole, width)
    logits = model(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        logits_to_keep=width - shortest + 1,
        **options,
    ).logits
    starts = [len(row.question.prompt) - shortest for row in rows]
    of_rows = [
        logits[i, start : start + len(row.question.expected) + 1]
        for i, (row, start) in enumerate(zip(rows, starts, strict=True))
    ]
    for row, each in zip(rows, of_rows, strict=True):
        if row.question.expected:
            wanted = torch.tensor(row.question.expected, device=each.device)
            row.nats = float(cross_entropy(each[:-1].float(), wanted, reduction="sum"))
    return of_rows, mask


def _one_pass(model: Any, rows: Sequence[Row], cache: DynamicCache, mask: torch.Tensor) -> torch.Tensor:
    """Read each row's last token and a draft; keep what the model agrees to. Gives the mask of all slots."""
    most = min(LONGEST_DRAFT, PASS_TOKENS // len(rows) - 1)
    drafts = [row.draft(most) for row in rows]
    given = [[row.answer[-1], *draft] for row, draft in zip(rows, drafts, strict=True)]
    width = max(map(len, given))
    ids, new = _padded(given, width)
    begin = torch.tensor([len(row.question.prompt) + len(row.answer) - 1 for row in rows])
    logits = model(
        input_ids=ids.to(model.device),
        attention_mask=torch.cat([mask, new], 1).to(model.device),
        position_ids=(begin[:, None] + torch.arange(width)).to(model.device),
        past_key_values=cache,
        use_cache=True,
    ).logits
    chosen = logits.argmax(-1).tolist()
    for i, (row, draft) in enumerate(zip(rows, drafts, strict=True)):
        kept = row.take(draft, chosen[i][: len(draft) + 1])
        new[i, 1 + kept :] = 0
    return torch.cat([mask, new], 1)


def _repack(
    cache: DynamicCache, mask: torch.Tensor, keep: Sequence[int]
) -> tuple[DynamicCache, torch.Tensor]:
    """Drop the rows that are done, and the slots that hold nothing in any row. The order of slots stays."""
    mask = mask[list(keep)]
    slots = torch.argsort(1 - mask, dim=1, stable=True)[:, : int(mask.sum(1).max())]
    packed = []
    for layer in cache.layers:
        device = layer.keys.device
        rows = torch.tensor(list(keep), device=device)
        heads, size = layer.keys.shape[1], layer.keys.shape[3]
        index = slots.to(device)[:, None, :, None].expand(-1, heads, -1, size)
        packed.append((layer.keys[rows].gather(2, index), layer.values[rows].gather(2, index)))
    return DynamicCache(packed), mask.gather(1, slots)


def _write_plainly(model: Any, rows: Sequence[Row]) -> Iterator[int]:
    """Token by token, for bases whose attention looks back at a window of slots only."""
    _read_expected(model, rows, use_cache=False)
    prompts = [row.question.prompt for row in rows]
    width = max(map(len, prompts))
    ids, mask = _padded(prompts, width, left=True)
    made = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=rows[0].room,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(rows[0].ends) or None,
        pad_token_id=min(rows[0].ends, default=0),
        use_cache=True,
    )
    for row, tokens in zip(rows, made[:, width:].tolist(), strict=True):
        row.take(tokens, tokens)
    yield 0


def _reads_all_slots(model: Any, asked: Sequence[Question], max_new_tokens: int) -> bool:
    window = getattr(model.config, "sliding_window", None)
    longest = max((len(q.prompt) + max(len(q.expected), max_new_tokens) for q in asked), default=0)
    return window is None or longest + REPACK_HOLES + LONGEST_DRAFT < window


def _padded(
    rows: Sequence[Sequence[int]], width: int, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (rows, width); padding is token 0 and never looked at."""
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[i, place] = torch.tensor(tokens, dtype=torch.long)
        mask[i, place] = 1
    return ids, mask


def _nearest(source: Sequence[int], tail: Sequence[int], near: int) -> int | None:
    """The place after `tail` in `source` that is nearest to `near`, or None."""
    size = len(tail)
    places = [i + size for i in range(len(source) - size) if list(source[i : i + size]) == list(tail)]
    return min(places, key=lambda place: abs(place - near)) if places else None


def _text(tokenizer: Any, ids: Sequence[int], ends: frozenset[int]) -> str:
    kept = ids[:-1] if ids and ids[-1] in ends else ids
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _ids(tokenizer: Any, turns: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
    made = tokenizer.apply_chat_template(
        list(turns), add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
    )
    return list(made)
