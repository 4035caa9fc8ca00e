"""The running batch: prompts join it, every step adds one token to each row, finished rows leave it."""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from core.engine.base import LoadedBase
from core.engine.cache import RowCache
from core.engine.decode import choose_tokens
from core.engine.limits import check_cache, check_length
from core.engine.lora import Lane
from core.engine.plan import BatchPlan, RowTerm, plan_batch
from core.engine.records import FinishReason
from core.engine.row import Row

PROMPT_TOKENS_PER_PASS = 4096


class RunningBatch:
    """Rows, their cache and the model. Only the inference thread calls it, except for `check_fits`, `size` and
    `answered`, the number of rows that ran and left."""

    def __init__(
        self,
        base: LoadedBase,
        lane: Lane,
        *,
        adapter_dtype: torch.dtype,
        max_rows: int,
        kv_budget_bytes: int,
    ) -> None:
        self._base, self._lane, self._adapter_dtype = base, lane, adapter_dtype
        self._max_rows = max_rows
        self._kv_budget_bytes = kv_budget_bytes // 2  # the cache's buffers grow by doubling
        self._cache = RowCache(base.layers, max_rows)
        self._rows: list[Row] = []
        self.answered = 0
        self._plan: BatchPlan | None = None
        self._plan_is_current = False
        keeps = "logits_to_keep" in inspect.signature(base.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if keeps else {}

    @property
    def size(self) -> int:
        """Rows that run now."""
        return len(self._rows)

    def check_fits(self, prompt_tokens: int, max_new_tokens: int) -> None:
        """Raises InvalidInputError or InsufficientMemoryError when such a request could never run."""
        check_length(prompt_tokens, max_new_tokens, self._base.context_length)
        check_cache((prompt_tokens + max_new_tokens) * self._base.kv_bytes_per_token, self._kv_budget_bytes)

    def has_room(self, joining: Sequence[Row], row: Row) -> bool:
        """Whether `row` may join beside the running rows and those that join with it."""
        rows = [*self._rows, *joining, row]
        columns = max(r.total_length for r in rows)
        needed = len(rows) * columns * self._base.kv_bytes_per_token
        return len(rows) <= self._max_rows and (len(rows) == 1 or needed <= self._kv_budget_bytes)

    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows. A bad one fails alone."""
        for group in _groups_of_similar_length(rows):
            try:
                self._read_prompts(group)
            except Exception as error:  # noqa: BLE001 - whatever one request causes must not reach the others
                if len(group) == 1:
                    group[0].fail(error)
                else:
                    for row in group:
                        self.join([row])

    def step(self) -> None:
        """One token for every row; those that are over or cancelled leave."""
        self._leave([(p, "cancelled") for p, row in enumerate(self._rows) if row.cancelled.is_set()])
        if not self._rows:
            return
        if not self._plan_is_current:
            self._plan, self._plan_is_current = self._make_plan([row.lease.terms for row in self._rows]), True
        try:
            self._cache.open_step()
            logits = self._forward(
                torch.tensor([[row.last_token] for row in self._rows]),
                self._cache.mask(),
                torch.tensor(self._cache.lengths).unsqueeze(1),
                self._plan,
            )
            self._cache.keep_step()
        except Exception as error:  # noqa: BLE001 - a failed pass ends its rows; the engine goes on
            self.fail_all(error)
        else:
            self._accept(logits, 0)

    def fail_all(self, error: BaseException) -> None:
        """End every row with an error."""
        rows, self._rows = self._rows, []
        self._cache.clear()
        self._plan_is_current = False
        for row in rows:
            row.fail(error)

    def _read_prompts(self, rows: Sequence[Row]) -> None:
        rows = sorted(rows, key=lambda row: [term.line for term in row.lease.terms])  # fewer, longer runs
        lengths = [len(row.prompt) for row in rows]
        width = max(lengths)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            row.start()
            ids[place, width - lengths[place] :] = torch.tensor(row.prompt)
            mask[place, width - lengths[place] :] = 1
        self._cache.open_prompts(len(rows), width)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions, self._make_plan([row.lease.terms for row in rows]))
        self._cache.keep_prompts(lengths)
        first = len(self._rows)
        self._rows.extend(rows)
        self._plan_is_current = False
        self._accept(logits, first)

    def _make_plan(self, terms: Sequence[Sequence[RowTerm]]) -> BatchPlan | None:
        return plan_batch(terms, dtype=self._adapter_dtype, device=self._base.device)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, plan: BatchPlan | None) -> Tensor:
        """Logits [rows, vocabulary] after the last token of each row."""
        device = self._base.device
        self._lane.plan = plan
        try:
            output = self._base.model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=positions.to(device),
                past_key_values=self._cache,
                use_cache=True,
                **self._last_only,
            )
        finally:
            self._lane.plan = None
            self._lane.forget()
        logits: Tensor = output.logits[:, -1]
        return logits

    def _accept(self, logits: Tensor, first: int) -> None:
        """Give the rows from `first` on their next token; those that are over leave."""
        rows = self._rows[first:]
        over: list[tuple[int, FinishReason | Exception]] = []
        choices = choose_tokens(logits, [row.sampler for row in rows])
        for place, (row, choice) in enumerate(zip(rows, choices, strict=True), start=first):
            try:
                reason = row.accept(choice, self._base.end_tokens)
            except Exception as error:  # noqa: BLE001 - whatever one request causes must not reach the others
                over.append((place, error))
            else:
                if reason is not None:
                    over.append((place, reason))
        self._leave(over)

    def _leave(self, over: Sequence[tuple[int, FinishReason | Exception]]) -> None:
        """Take rows out of the batch, then hand each its answer or its error."""
        leaving = [(self._rows[place], outcome) for place, outcome in over]
        for place, _ in sorted(over, key=lambda pair: pair[0], reverse=True):
            self._cache.drop(place)
            last = self._rows.pop()
            if place < len(self._rows):
                self._rows[place] = last
            self._plan_is_current = False
        self.answered += len(leaving)
        for row, outcome in leaving:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                row.finish(outcome)
            except Exception as error:  # noqa: BLE001 - whatever one request causes must not reach the others
                row.fail(error)


def _groups_of_similar_length(rows: Sequence[Row]) -> list[list[Row]]:
    """Prompts that are read in one pass: at most half of it padding, and not too many tokens."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row.prompt)):
        width = len(row.prompt)
        if groups:
            last = groups[-1]
            tokens = sum(len(r.prompt) for r in last) + width
            padded = (len(last) + 1) * width
            if padded <= PROMPT_TOKENS_PER_PASS and padded <= 2 * tokens:
                last.append(row)
                continue
        groups.append([row])
    return groups
