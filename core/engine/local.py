"""The engine on this machine: one thread owns the model, requests join and leave its batch between tokens."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from core.engine.bank import AdapterBank, Lease
from core.engine.base import LoadedBase
from core.engine.batch import RunningBatch
from core.engine.limits import check_request
from core.engine.lora import Lane, wrap_linears
from core.engine.memory import free_bytes
from core.engine.prompt import Prompter
from core.engine.records import Chunk, Composition, EngineStatus, Generation, GenerationRequest
from core.engine.row import AnswerStream, Row
from core.errors import BusyError, InvalidInputError, UnavailableError

LOG = logging.getLogger(__name__)
ALIVE_SECONDS = 1.0  # how often a waiting caller looks whether the inference thread still lives
GATHER_SECONDS = 0.004  # how long an idle engine waits for requests that are just being prepared
CHECK_SECONDS = 0.05  # how often it asks whether the request is cancelled


class LocalEngine:
    """EnginePort on one base model in this process. Takes the base over: nobody else may run its model.

    `kv_share` is the part of the free memory that keys and values of running rows may take.
    """

    def __init__(
        self,
        base: LoadedBase,
        *,
        adapter_slots: int = 32,
        max_batch_rows: int = 32,
        max_queue_rows: int = 2048,
        kv_share: float = 0.5,
    ) -> None:
        self._base = base
        lane = Lane()
        adapter_dtype = torch.float32 if base.device.type == "cpu" else base.dtype
        sites = wrap_linears(base.model, lane, adapter_dtype)
        self._bank = AdapterBank(
            sites, base.digest, slots=adapter_slots, dtype=adapter_dtype, device=base.device
        )
        self._prompter = Prompter(base.tokenizer, base.vocabulary_size, base.context_length)
        self._batch = RunningBatch(
            base,
            lane,
            adapter_dtype=adapter_dtype,
            max_rows=max_batch_rows,
            kv_budget_bytes=int(kv_share * free_bytes(base.device)),
        )
        self._max_queue_rows = max_queue_rows
        self._wake = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._joining: list[Row] | None = None
        # Callers between admission and the queue: they encode, load adapters or wait for a slot.
        self._arriving = 0
        self._finished: deque[tuple[float, int]] = deque(maxlen=64)  # when answers were over, and how many
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def base_digest(self) -> str:
        """Digest of the base that answers."""
        return self._base.digest

    def prepare(self, composition: Composition) -> None:
        """Load what `composition` needs. Raises RefusedFileError or IntegrityError and disturbs nothing else."""
        self._check_open()
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

    def unload(self, digest: str) -> bool:
        """Free an adapter's memory once no request uses it. False when it was not loaded."""
        return self._bank.unload(digest)

    def status(self) -> EngineStatus:
        """What is loaded and how busy it is."""
        adapters, adapter_bytes = self._bank.resident()
        with self._wake:
            return EngineStatus(
                ready=self._failure is None and not self._closing,
                base_name=self._base.name,
                base_digest=self._base.digest,
                device=str(self._base.device),
                dtype=self._base.dtype_name,
                base_bytes=self._base.bytes,
                adapters_resident=adapters,
                adapter_bytes=adapter_bytes,
                adapter_slots=self._bank.slots,
                running_rows=self._batch.size,
                waiting_rows=len(self._waiting) + self._arriving,
                answered=self._batch.answered,
            )

    def close(self) -> None:
        """Finish what runs and what waits, refuse what comes. Returns when the last answer is out."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
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
        self._admit()
        row: Row | None = None
        try:
            prompt = self._prompter.encode(request.messages)
            self._batch.check_fits(len(prompt), request.max_new_tokens)
            lease = self._bank.lease(composition, cancelled=cancelled)
            row = Row(
                prompt,
                request,
                lease or Lease.empty(self._bank),
                composition.key,
                decode=self._prompter.decode,
                streamed=streamed,
                submitted=submitted,
            )
            if lease is None:
                row.cancelled.set()
        finally:
            self._enqueue(row)
        return row

    def _admit(self) -> None:
        with self._wake:
            self._check_open()
            waiting = len(self._waiting) + self._arriving
            if waiting >= self._max_queue_rows:
                raise BusyError(
                    "The engine is busy.",
                    f"{waiting:,} requests wait already.",
                    "Try again in a moment.",
                    retry_after_s=self._estimate_wait(waiting),
                )
            self._arriving += 1

    def _estimate_wait(self, waiting: int) -> float:
        """Seconds until those who wait now are answered, from the pace of the last answers; 1 to 60."""
        if len(self._finished) < 2:
            return 1.0
        seconds = time.perf_counter() - self._finished[0][0]
        return min(60.0, max(1.0, waiting * seconds / sum(count for _, count in self._finished)))

    def _enqueue(self, row: Row | None) -> None:
        """End the admission of a request; with None it did not get as far as the queue."""
        with self._wake:
            self._arriving -= 1
            if row is not None and self._failure is None:
                self._waiting.append(row)
            self._wake.notify_all()
        if row is not None and self._failure is not None:
            row.fail(self._dead())

    def _cancel(self, row: Row) -> None:
        """Stop a request: at once while it waits, before the next token once it runs."""
        row.cancelled.set()
        with self._wake:
            if row not in self._waiting:
                return
            self._waiting.remove(row)
        row.finish("cancelled")

    def _next_chunk(self, row: Row) -> Chunk:
        while True:
            chunk = self._wait(row, ALIVE_SECONDS)
            if chunk is not None:
                return chunk

    def _wait(self, row: Row, seconds: float) -> Chunk | None:
        """The next piece, or None when none came in time. Raises what the request failed with."""
        try:
            item = row.chunks.get(timeout=seconds)
        except queue.Empty:
            if self._thread.is_alive() or not row.chunks.empty():
                return None
            raise self._dead() from None
        if isinstance(item, Chunk):
            return item
        raise item

    def _check_composition(self, composition: Composition) -> None:
        if composition.method != "additive":
            raise InvalidInputError(
                f"This engine does not compose by the method {composition.method}.", "", "Use additive."
            )
        if composition.base_digest != self._base.digest:
            raise InvalidInputError(
                "The composition was made for another base model.",
                f"It names base {composition.base_digest[:12]}…, and {self._base.digest[:12]}… is loaded.",
                "Load that base, or compose adapters of this one.",
            )

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._dead()
        if self._closing:
            raise UnavailableError(
                "The engine is closing.", "It finishes what runs.", "Try again after the restart."
            )

    def _dead(self) -> UnavailableError:
        why = f"{type(self._failure).__name__}: {self._failure}." if self._failure else ""
        return UnavailableError("The engine has stopped.", why, "Restart it; its log says more.")

    # --- the inference thread ---

    def _run(self) -> None:
        torch.set_num_threads(self._base.threads)
        try:
            with torch.inference_mode():
                while True:
                    self._joining = self._next_rows()
                    if self._joining is None:
                        return
                    before = self._batch.answered
                    self._batch.join(self._joining)
                    self._batch.step()
                    if over := self._batch.answered - before:
                        with self._wake:
                            self._finished.append((time.perf_counter(), over))
        except BaseException as error:
            LOG.exception("The inference thread has stopped")
            self._fail_everything(error)

    def _next_rows(self) -> list[Row] | None:
        """Rows that join now, maybe none; None when the engine is closed and everything is answered."""
        joining: list[Row] = []
        cancelled: list[Row] = []
        with self._wake:
            while not (self._waiting or self._batch.size):
                if self._closing and not self._arriving:
                    return None
                self._wake.wait()
            if not self._batch.size:
                self._wait_for_arrivals()
            while self._waiting:
                row = self._waiting[0]
                if row.cancelled.is_set():
                    cancelled.append(self._waiting.popleft())
                elif self._batch.has_room(joining, row):
                    joining.append(self._waiting.popleft())
                else:
                    break
        for row in cancelled:
            row.finish("cancelled")
        return joining

    def _wait_for_arrivals(self) -> None:
        """Requests that come together start together: one pass over their prompts instead of one for each."""
        until = time.perf_counter() + GATHER_SECONDS
        while self._arriving and (left := until - time.perf_counter()) > 0:
            self._wake.wait(left)

    def _fail_everything(self, error: BaseException) -> None:
        with self._wake:
            self._failure = error
            lost, self._waiting = [*(self._joining or ()), *self._waiting], deque()
        self._batch.fail_all(self._dead())
        for row in lost:
            row.fail(self._dead())
