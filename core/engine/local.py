"""The engine on this machine: one thread owns the model, requests join and leave its batch between tokens."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from core.engine.bank import AdapterBank
from core.engine.base import LoadedBase
from core.engine.batch import RunningBatch
from core.engine.canary import Canary
from core.engine.kernels import GroupedLora, choose_kernel
from core.engine.lease import Lease
from core.engine.limits import check_request
from core.engine.loading import run_beside
from core.engine.lora import Lane, wrap_linears
from core.engine.memory import free_bytes
from core.engine.plan import RowTerm
from core.engine.prompt import Prompter
from core.engine.records import Chunk, Composition, EngineStatus, Generation, GenerationRequest, Message
from core.engine.row import AnswerStream, Row
from core.engine.turns import ALIVE_SECONDS, Turns
from core.errors import InvalidInputError, UnavailableError

LOG = logging.getLogger(__name__)
CHECK_SECONDS = 0.05  # how often the engine asks whether the request is cancelled
ADAPTER_SHARE = 0.25  # of the free memory, unless the settings say otherwise
PREFIX_SHARE = 0.05


class LocalEngine:
    """EnginePort on one base model in this process. Takes the base over: nobody else may run its model.

    Memory is shared out once, here: `adapter_bytes` for adapters, `kv_bytes` for keys and values of running rows
    (None: the part `kv_share` of what is free) and `prefix_bytes` for those of prompts that may come again (None: a
    part of what is free, 0: none are kept). `close` lets answers finish for `close_timeout_s` (None: all of them).
    `kernel` adds the adapters: True is Triton's on a GPU that has it, False always torch.
    """

    def __init__(
        self,
        base: LoadedBase,
        *,
        adapter_slots: int = 32,
        max_batch_rows: int = 32,
        max_queue_rows: int = 2048,
        kv_share: float = 0.5,
        adapter_bytes: int | None = None,
        kv_bytes: int | None = None,
        prefix_bytes: int | None = None,
        close_timeout_s: float | None = None,
        kernel: GroupedLora | bool = True,
    ) -> None:
        self._base, self._close_timeout_s = base, close_timeout_s
        adapter_dtype = torch.float32 if base.device.type == "cpu" else base.dtype
        lane = Lane(choose_kernel(kernel, base.device, adapter_dtype))
        free = free_bytes(base.device)
        sites = wrap_linears(base.model, lane, adapter_dtype)
        self._module_names = tuple(site.name for site in sites)
        self._embedding: Tensor = base.model.get_input_embeddings().weight.detach()  # type: ignore[operator]
        self._bank = AdapterBank(
            sites,
            base.digest,
            slots=adapter_slots,
            dtype=adapter_dtype,
            device=base.device,
            budget_bytes=int(ADAPTER_SHARE * free) if adapter_bytes is None else adapter_bytes,
            canary=self._check_on_inference_thread,
        )
        self._canary = Canary(base, lane, adapter_dtype)
        self._prompter = Prompter(base.tokenizer, base.vocabulary_size, base.context_length)
        self._batch = RunningBatch(
            base,
            lane,
            adapter_dtype=adapter_dtype,
            max_rows=max_batch_rows,
            kv_budget_bytes=int(kv_share * free) if kv_bytes is None else kv_bytes,
            prefix_budget_bytes=int(PREFIX_SHARE * free) if prefix_bytes is None else prefix_bytes,
        )
        self._turns = Turns(max_queue_rows, lambda: self._bank.crowded)
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def base_digest(self) -> str:
        """Digest of the base that answers."""
        return self._base.digest

    def prepare(self, composition: Composition) -> None:
        """Load what `composition` needs. Raises RefusedFileError or IntegrityError and disturbs nothing else."""
        self._turns.check_open()
        self._check_composition(composition)
        lease = self._bank.lease(composition)
        if lease is not None:
            lease.release()

    def generate(
        self,
        composition: Composition,
        request: GenerationRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generation:
        """Answer one request. Blocks until done. Raises BusyError when too many wait."""
        row = self._submit(composition, request, cancelled, streamed=False)
        try:
            while True:
                chunk = self._wait(row, CHECK_SECONDS if cancelled else ALIVE_SECONDS)
                if chunk is not None and chunk.final is not None:
                    return chunk.final
                if cancelled is not None and cancelled():
                    self._cancel(row)
        except BaseException:
            self._cancel(row)
            raise

    def stream(self, composition: Composition, request: GenerationRequest) -> Iterator[Chunk]:
        """Answer piece by piece. Closing the iterator cancels the request.

        The request is checked and queued by this call: a wrong one is refused here, not at the first piece.
        """
        row = self._submit(composition, request, None, streamed=True)
        return AnswerStream(row, self._next_chunk, self._cancel)

    def features(self, messages: Sequence[Message]) -> tuple[float, ...]:
        """Mean of the frozen embedding table over the tokens of the prompt: what a request router sees (G1)."""
        tokens = torch.tensor(self._prompter.encode(messages), device=self._embedding.device)
        with torch.inference_mode():
            mean = self._embedding.index_select(0, tokens).float().mean(dim=0)
        return tuple(mean.tolist())

    def module_names(self) -> tuple[str, ...]:
        """The linear layers that adapters can act on, in the order of the forward pass."""
        return self._module_names

    def unload(self, digest: str) -> bool:
        """Free an adapter's memory once no request uses it. False when it was not loaded."""
        return self._bank.unload(digest)

    def status(self) -> EngineStatus:
        """What is loaded and how busy it is."""
        adapters, adapter_bytes = self._bank.resident()
        counters = self._bank.counters
        return EngineStatus(
            ready=self._turns.ready,
            base_name=self._base.name,
            base_digest=self._base.digest,
            device=str(self._base.device),
            dtype=self._base.dtype_name,
            base_bytes=self._base.bytes,
            adapters_resident=adapters,
            adapter_bytes=adapter_bytes,
            adapter_slots=self._bank.slots,
            running_rows=self._batch.size,
            waiting_rows=self._turns.waiting,
            answered=self._batch.answered,
            residents=self._bank.residents(),
            adapter_budget_bytes=self._bank.budget_bytes or 0,
            adapter_loads=counters.loads,
            adapter_hits=counters.hits,
            adapter_evictions=counters.evictions,
            kv_bytes=self._batch.kv_bytes,
            kv_budget_bytes=self._batch.kv_budget_bytes,
            prefix=self._batch.prefix,
        )

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what runs and what waits, refuse what comes. Returns when the last answer is out.

        After `timeout_s` (None: as the engine was opened) who still waits is refused, and who runs gets what is there
        (finish reason «timeout»). A second call may shorten the time that is left.
        """
        self._turns.close(self._close_timeout_s if timeout_s is None else timeout_s)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # --- callers' threads ---

    def _submit(
        self,
        composition: Composition,
        request: GenerationRequest,
        cancelled: Callable[[], bool] | None,
        *,
        streamed: bool,
    ) -> Row:
        submitted = time.perf_counter()
        self._check_composition(composition)
        check_request(request)
        self._turns.admit(request)
        deadline = submitted + (request.time_limit_s or math.inf)

        def gone() -> bool:
            late = time.perf_counter() >= deadline or self._turns.drained
            return late or (cancelled is not None and cancelled())

        row, waits = None, False
        try:
            prompt = self._prompter.encode(request.messages)
            self._batch.check_fits(len(prompt), request.max_new_tokens)
            lease = self._bank.lease(composition, cancelled=gone, owner=request.owner)
            waits = lease is not None and not gone()
            row = Row(
                prompt,
                request,
                lease or Lease.empty(self._bank),
                composition.key,
                decode=self._prompter.decode,
                streamed=streamed,
                submitted=submitted,
            )
        finally:
            self._turns.enter(request.owner, row if waits else None)
        if not waits:
            row.finish("timeout" if time.perf_counter() >= deadline else "cancelled")
        return row

    def _lease_again(self, row: Row) -> None:
        """Get the adapters of a row that gave way; in a thread of its own."""

        def gone() -> bool:
            return self._turns.drained or row.over(time.perf_counter()) is not None

        try:
            row.resume(row.lease.renew(gone))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            self._turns.enter(row.owner, None, was_away=True)
            row.fail(error)
            return
        reason = row.over(time.perf_counter())
        self._turns.enter(row.owner, row if reason is None else None, was_away=True)
        if reason is not None:
            row.finish(reason)

    def _send_away(self, row: Row) -> None:
        try:
            run_beside(lambda: self._lease_again(row))
        except UnavailableError as error:
            self._turns.enter(row.owner, None, was_away=True)
            row.fail(error)

    def _cancel(self, row: Row) -> None:
        """Stop a request: at once while it waits, before the next token once it runs."""
        row.cancelled.set()
        if self._turns.withdraw(row):
            row.finish("cancelled")

    def _next_chunk(self, row: Row) -> Chunk:
        while (chunk := self._wait(row, ALIVE_SECONDS)) is None:
            pass
        return chunk

    def _wait(self, row: Row, seconds: float) -> Chunk | None:
        """The next piece, or None when none came in time. Raises what the request failed with."""
        try:
            item = row.chunks.get(timeout=seconds)
        except queue.Empty:
            if self._thread.is_alive() or not row.chunks.empty():
                return None
            raise self._turns.dead() from None
        if isinstance(item, Chunk):
            return item
        raise item

    def _check_composition(self, composition: Composition) -> None:
        if composition.base_digest != self._base.digest:
            raise InvalidInputError(
                "The composition was made for another base model.",
                f"It names base {composition.base_digest[:12]}…, and {self._base.digest[:12]}… is loaded.",
                "Load that base, or compose adapters of this one.",
            )

    def _check_on_inference_thread(self, terms: tuple[RowTerm, ...]) -> None:
        """The bank's trial of a new adapter. Called by whoever loads it."""
        self._turns.run(lambda: self._canary.check(terms))

    # --- the inference thread ---

    def _run(self) -> None:
        torch.set_num_threads(self._base.threads)
        try:
            with torch.inference_mode():
                while (turn := self._turns.next_turn(self._batch)) is not None:
                    for chore in turn.chores:
                        chore.finish()
                    for row, reason in turn.over:
                        row.finish(reason)
                    for row in turn.away:
                        self._send_away(row)
                    self._batch.join(turn.joining)
                    self._batch.step(time.perf_counter())
        except BaseException as error:
            LOG.exception("The inference thread has stopped")
            self._turns.fail(error)
            self._batch.fail_all(self._turns.dead())
