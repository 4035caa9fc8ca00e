"""The running batch: prompts join it, every step adds one token to each row, finished rows leave it."""

import inspect
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from core.engine.base import LoadedBase
from core.engine.cache import RowCache
from core.engine.decode import Choice, choose_tokens
from core.engine.limits import check_cache, check_length
from core.engine.lora import Lane
from core.engine.memory import is_out_of_memory
from core.engine.plan import BatchPlan, plan_batch
from core.engine.prefix import BLOCK, PrefixCache
from core.engine.records import FinishReason, PrefixStatus
from core.engine.row import Row

LOG = logging.getLogger(__name__)
PROMPT_TOKENS_PER_PASS = 4096


class RunningBatch:
    """Rows, their cache and the model. Only the inference thread calls it, except for `check_fits`, `size`, the
    figures of memory and `answered`, the number of rows that ran and left."""

    def __init__(
        self,
        base: LoadedBase,
        lane: Lane,
        *,
        adapter_dtype: torch.dtype,
        max_rows: int,
        kv_budget_bytes: int,
        prefix_budget_bytes: int,
    ) -> None:
        self._base, self._lane, self._adapter_dtype = base, lane, adapter_dtype
        self._max_rows = max_rows
        self.kv_budget_bytes = kv_budget_bytes
        self._kv_admitted_bytes = kv_budget_bytes // 2  # the cache's buffers grow by doubling
        self._cache = RowCache(base.layers, max_rows, kv_budget_bytes // base.kv_bytes_per_token)
        self._prefix = PrefixCache(prefix_budget_bytes)
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

    @property
    def kv_bytes(self) -> int:
        """Bytes of the buffers for keys and values."""
        return self._cache.cells * self._base.kv_bytes_per_token

    @property
    def prefix(self) -> PrefixStatus:
        """The prompts that are kept."""
        return self._prefix.status()

    def check_fits(self, prompt_tokens: int, max_new_tokens: int) -> None:
        """Raises InvalidInputError or InsufficientMemoryError when such a request could never run."""
        check_length(prompt_tokens, max_new_tokens, self._base.context_length)
        needed = (prompt_tokens + max_new_tokens) * self._base.kv_bytes_per_token
        check_cache(needed, self._kv_admitted_bytes)

    def has_room(self, joining: Sequence[Row], row: Row) -> bool:
        """Whether `row` may join beside the running rows and those that join with it."""
        rows = [*self._rows, *joining, row]
        columns = max(r.total_length for r in rows)
        needed = len(rows) * columns * self._base.kv_bytes_per_token
        return len(rows) <= self._max_rows and (len(rows) == 1 or needed <= self._kv_admitted_bytes)

    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows. A bad one fails alone."""
        for group in _groups_of_similar_length([(self._to_read(row), row) for row in rows]):
            try:
                self._read_prompts(group)
            except Exception as error:  # noqa: BLE001 - whatever one request causes must not reach the others
                freed = self._make_room_after(error)
                if len(group) == 1 and not freed:
                    group[0].fail(error)
                else:
                    for row in group:
                        self.join([row])

    def step(self, now: float) -> None:
        """One token for every row; those that are over, cancelled or out of time leave."""
        outcomes = [(place, row.over(now)) for place, row in enumerate(self._rows)]
        self._leave([(place, reason) for place, reason in outcomes if reason is not None])
        if not self._rows:
            return
        if not self._plan_is_current:
            self._plan, self._plan_is_current = self._make_plan(self._rows), True
        try:
            try:
                choices = self._choose_next()
            except Exception as error:
                # The rows are as they were before the pass: with the kept prompts' memory it may well succeed.
                if not self._make_room_after(error):
                    raise
                choices = self._choose_next()
            self._cache.keep_step()
        except Exception as error:  # noqa: BLE001 - a failed pass ends its rows; the engine goes on
            self.fail_all(error)
        else:
            self._accept(choices, 0)

    def fail_all(self, error: BaseException) -> None:
        """End every row with an error."""
        rows, self._rows = self._rows, []
        if is_out_of_memory(error):
            self._cache.free()
        self._cache.clear()
        self._plan_is_current = False
        for row in rows:
            if not row.done:
                row.fail(error)

    def _make_room_after(self, error: BaseException) -> bool:
        """After a pass that ran out of memory, give back what only saves time. Whether that was anything."""
        if not is_out_of_memory(error):
            return False
        LOG.warning("A pass ran out of memory: %s", error)
        freed = self._prefix.status().bytes
        self._prefix.clear()
        if self._base.device.type == "cuda":
            torch.cuda.empty_cache()
        return freed > 0

    def _choose_next(self) -> list[Choice | None]:
        self._cache.open_step()
        logits = self._forward(
            torch.tensor([[row.last_token] for row in self._rows]),
            self._cache.mask(),
            torch.tensor(self._cache.lengths).unsqueeze(1),
            self._plan,
        )
        return choose_tokens(logits, [row.sampler for row in self._rows])

    def _to_read(self, row: Row) -> int:
        """Tokens of a prompt that were not read before."""
        return len(row.prompt) - self._prefix.length(row.prefix_key, row.prompt)

    def _read_prompts(self, rows: Sequence[Row]) -> None:
        rows = sorted(rows, key=lambda row: [term.line for term in row.lease.terms])  # fewer, longer runs
        lengths = [len(row.prompt) for row in rows]
        # The pass is one block, as wide as the longest part that has to be read; who needs less reads more.
        width, longest = max(map(self._to_read, rows)), max(lengths)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for place, row in enumerate(rows):
            row.start()
            read = row.prompt[-width:]
            ids[place, width - len(read) :] = torch.tensor(read)
            mask[place, longest - lengths[place] :] = 1
        self._cache.open_prompts(len(rows), width, longest)
        for place, row in enumerate(rows):
            row.cached_tokens = max(0, lengths[place] - width)
            if row.cached_tokens:
                self._cache.fill(place, self._prefix.take(row.prefix_key, row.prompt, row.cached_tokens))
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, longest - width :]
        logits = self._forward(ids, mask, positions, self._make_plan(rows))
        choices = choose_tokens(logits, [row.sampler for row in rows])
        self._cache.keep_prompts(lengths)
        first = len(self._rows)
        self._rows.extend(rows)
        self._plan_is_current = False
        self._keep_prefixes(choices, first)
        self._accept(choices, first)

    def _keep_prefixes(self, choices: Sequence[Choice | None], first: int) -> None:
        """Keep what was read of the prompts from row `first` on, except where it came to nothing."""
        for place, (row, choice) in enumerate(zip(self._rows[first:], choices, strict=True), start=first):
            self._prefix.count_request(len(row.prompt), row.cached_tokens)
            whole = len(row.prompt) // BLOCK * BLOCK
            if choice is None or not self._prefix.accepts(whole * self._base.kv_bytes_per_token):
                continue
            try:
                start = self._prefix.missing_from(row.prefix_key, row.prompt)
                if start < whole:
                    values = self._cache.read(place, start, whole)
                    self._prefix.keep(row.prefix_key, row.prompt, start, values)
            except Exception as error:  # noqa: BLE001 - what only saves time must not cost an answer
                LOG.warning("The keys and values of a prompt could not be kept: %s", error)
                self._prefix.clear()

    def _make_plan(self, rows: Sequence[Row]) -> BatchPlan | None:
        return plan_batch(
            [row.lease.terms for row in rows],
            gates=[row.lease.gate for row in rows],
            dtype=self._adapter_dtype,
            device=self._base.device,
            kernel=self._lane.kernel,
        )

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

    def _accept(self, choices: Sequence[Choice | None], first: int) -> None:
        """Give the rows from `first` on their next token; those that are over leave."""
        over: list[tuple[int, FinishReason | Exception]] = []
        for place, (row, choice) in enumerate(zip(self._rows[first:], choices, strict=True), start=first):
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


def _groups_of_similar_length(rows: Sequence[tuple[int, Row]]) -> list[list[Row]]:
    """Prompts, each with the number of tokens to read, that are read in one pass: at most half of it padding, and
    not too many tokens."""
    groups: list[list[Row]] = []
    total = 0
    for width, row in sorted(rows, key=lambda pair: pair[0]):
        if groups:
            padded = (len(groups[-1]) + 1) * width
            if padded <= PROMPT_TOKENS_PER_PASS and padded <= 2 * (total + width):
                groups[-1].append(row)
                total += width
                continue
        groups.append([row])
        total = width
    return groups
