"""The engine on another server: any that speaks OpenAI's completions and vLLM's runtime LoRA routes.

That server applies one adapter to a request, so a composition is exported as one adapter, named by its key, and
loaded once; the base itself is an adapter of zeros (see nothing.py). The prompt is encoded here and sent as token
ids: chat template and markers are those of the engine on this machine.
"""

import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core.engine.adapter_files import CONFIG, WEIGHTS, read_adapter
from core.engine.backends.answer import RemoteAnswer, RemoteStream
from core.engine.backends.names import ResidentNames
from core.engine.backends.nothing import write_nothing
from core.engine.backends.outline import BaseOutline
from core.engine.backends.server import ModelServer
from core.engine.limits import check_length, check_request
from core.engine.records import Chunk, Composition, EngineStatus, Generation, GenerationRequest, Message
from core.engine.site_factors import SiteMap
from core.errors import BusyError, InvalidInputError, RmnError, UnavailableError

LOG = logging.getLogger(__name__)
CHECK_SECONDS = 0.05  # how often a waiting caller asks whether the request is cancelled
WAIT_SECONDS = 1.0
TOP_LOGPROBS = 20  # what vLLM gives unless --max-logprobs says more
OUR_NAME = re.compile(r"[0-9a-f]{64}")

Export = Callable[[Composition, Path], Path]


class OpenAIEngine:
    """EnginePort on a model server that runs the base of `outline` under the name `model`.

    `export(composition, folder)` writes a composition as one adapter into the new folder and answers where it is;
    both machines must see `exports` under the same path. At most `adapter_slots` names are resident. `server` is
    taken over and closed with the engine. Opening asks it for its models: raises UnavailableError when it is away or
    does not know `model`.
    """

    def __init__(
        self,
        outline: BaseOutline,
        server: ModelServer,
        *,
        model: str,
        export: Export,
        exports: Path,
        adapter_slots: int = 32,
        max_queue_rows: int = 2048,
        close_timeout_s: float = 60.0,
    ) -> None:
        self._outline, self._server = outline, server
        self._export, self._exports = export, exports
        self._sites = SiteMap(outline.sites)
        self._max_queue_rows, self._slots = max_queue_rows, adapter_slots
        self._close_timeout_s = close_timeout_s
        self._names = ResidentNames(adapter_slots, self._drop)
        self._changed = threading.Condition()
        self._running = self._answered = 0
        self._closing = False
        try:
            served = _served(server, model)
        except BaseException:
            server.close()
            raise
        self._context = min(outline.context_length, served[model] or outline.context_length)
        for name in served:
            if OUR_NAME.fullmatch(name):
                self._names.adopt(name)

    @property
    def base_digest(self) -> str:
        """Digest of the base in our own folder; the server is trusted to run the same."""
        return self._outline.digest

    def prepare(self, composition: Composition) -> None:
        """Have the server load what `composition` needs. Raises RefusedFileError or IntegrityError."""
        self._check_open()
        self._names.unpin(self._pin(composition, None))

    def generate(
        self,
        composition: Composition,
        request: GenerationRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generation:
        """Answer one request. Blocks until done. Raises BusyError when too many wait."""
        try:
            answer = self._submit(composition, request, cancelled)
        except _CancelledError:
            return Generation("", "cancelled", 0, 0, 0.0, 0.0, 0.0, composition.key)
        try:
            while True:
                chunk = answer.wait(CHECK_SECONDS if cancelled else WAIT_SECONDS)
                if chunk is not None and chunk.final is not None:
                    return chunk.final
                if cancelled is not None and cancelled():
                    return answer.finish("cancelled")
        finally:
            answer.abandon()

    def stream(self, composition: Composition, request: GenerationRequest) -> Iterator[Chunk]:
        """Answer piece by piece. Closing the iterator closes the connection, and the server stops."""
        answer = self._submit(composition, request, None)

        def next_chunk() -> Chunk:
            while True:
                if (chunk := answer.wait(WAIT_SECONDS)) is not None:
                    return chunk

        return RemoteStream(next_chunk, answer.abandon)

    def features(self, messages: Sequence[Message]) -> tuple[float, ...]:
        """Mean of the frozen embedding table over the tokens of the prompt: what a request router sees (G1)."""
        return self._outline.features(messages)

    def module_names(self) -> tuple[str, ...]:
        """The linear layers that adapters can act on, in the order of the forward pass."""
        return tuple(site.name for site in self._outline.sites)

    def unload(self, digest: str) -> bool:
        """Have the server forget every name that the adapter is part of. False when there is none."""
        return self._names.unload(digest)

    def status(self) -> EngineStatus:
        """What is loaded there on our behalf, and how busy we keep it."""
        residents = self._names.residents()
        with self._changed:
            running, answered, closing = self._running, self._answered, self._closing
        return EngineStatus(
            ready=not closing and self._server.healthy(),
            base_name=self._outline.name,
            base_digest=self._outline.digest,
            device="model server",
            dtype="as the server runs it",
            base_bytes=0,
            adapters_resident=len(residents),
            adapter_bytes=sum(resident.bytes for resident in residents),
            adapter_slots=self._slots,
            running_rows=running,
            waiting_rows=0,
            answered=answered,
            backend="openai-compatible",
            residents=residents,
            adapter_loads=self._names.loads,
            adapter_hits=self._names.hits,
            adapter_evictions=self._names.evictions,
        )

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what runs, refuse what comes; what takes longer than `timeout_s` (None: as it was opened) fails. What
        the server holds stays there for the next start."""
        with self._changed:
            self._closing = True
            left_s = self._close_timeout_s if timeout_s is None else timeout_s
            self._changed.wait_for(lambda: not self._running, left_s)
        self._server.close()

    def _submit(
        self,
        composition: Composition,
        request: GenerationRequest,
        cancelled: Callable[[], bool] | None,
    ) -> RemoteAnswer:
        submitted = time.perf_counter()
        check_request(request)
        self._admit()
        name: str | None = None
        try:
            prompt = self._outline.encode(request.messages)
            check_length(len(prompt), request.max_new_tokens, self._context)
            held = name = self._pin(composition, cancelled)
            return RemoteAnswer(
                lambda: self._server.complete(self._payload(held, prompt, request)),
                request,
                len(prompt),
                composition.key,
                submitted=submitted,
                release=lambda: self._release(held),
                again=lambda asked_at: self._find_again(held, composition, asked_at),
            )
        except BaseException:
            self._release(name)
            raise

    def _payload(self, name: str, prompt: list[int], request: GenerationRequest) -> dict[str, Any]:
        """Every knob is said: a server takes what is left out from the base's generation_config.json."""
        return {
            "model": name,
            "prompt": prompt,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p if request.temperature else 1.0,
            "top_k": -1,
            "repetition_penalty": 1.0,
            "seed": request.seed,
            "stop": list(request.stop),
            "stop_token_ids": list(self._outline.end_tokens),
            "logprobs": TOP_LOGPROBS,
            "return_tokens_as_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _admit(self) -> None:
        with self._changed:
            self._check_open()
            if self._running >= self._max_queue_rows:
                raise BusyError(
                    "The engine is busy.",
                    f"{self._running:,} requests wait already.",
                    "Try again in a moment.",
                )
            self._running += 1

    def _release(self, name: str | None) -> None:
        if name is not None:
            self._names.unpin(name)
        with self._changed:
            self._running -= 1
            self._answered += 1
            self._changed.notify_all()

    def _pin(self, composition: Composition, cancelled: Callable[[], bool] | None) -> str:
        """The server's name for `composition`, held until it is unpinned."""
        self._check_composition(composition)
        weights = self._sites.weigh(composition)
        refs = {t.adapter.digest: t.adapter for t in composition.terms if t.adapter.digest in weights}
        alone = len(refs) == 1 and set(weights.values()) == {1.0}
        alone = alone and _is_uniform(next(iter(refs.values())).path)
        base = Composition(composition.base_digest)
        name = next(iter(refs)) if alone else composition.key if refs else base.key

        def load() -> int:
            for ref in refs.values():
                read_adapter(ref, self._outline.sites, self._outline.digest)
            if alone:
                folder = refs[name].path
            elif refs:
                folder = self._export(composition, self._exports / name)
            else:
                folder = write_nothing(self._outline.sites, self._exports / name)
            self._server.load(name, folder.resolve())
            return (folder / WEIGHTS).stat().st_size

        if not self._names.pin(name, frozenset(refs), load, cancelled):
            raise _CancelledError
        return name

    def _find_again(self, name: str, composition: Composition, asked_at: float) -> bool:
        """After the server lost a name (a restart): load it anew. False when it is not the same."""
        LOG.warning("engine.name_lost: %s", name[:12])
        self._names.lost(name, asked_at)
        return self._pin(composition, None) == name

    def _drop(self, name: str) -> None:
        """Forget a name on the server and its export here. A server that is away has forgotten it by itself."""
        try:
            self._server.unload(name)
        except RmnError as error:
            LOG.warning("engine.not_unloaded: %s: %s", name[:12], error)
        shutil.rmtree(self._exports / name, ignore_errors=True)

    def _check_composition(self, composition: Composition) -> None:
        if composition.base_digest != self._outline.digest:
            raise InvalidInputError(
                "The composition was made for another base model.",
                f"It names base {composition.base_digest[:12]}…, and {self._outline.digest[:12]}… is served.",
                "Serve that base, or compose adapters of this one.",
            )
        if composition.gate is not None:
            raise InvalidInputError(
                "A token gate cannot run on this model server.",
                "It weighs the adapters anew at every token; the server applies one adapter to a request.",
                "Use the engine on this machine, or an additive composition.",
            )

    def _check_open(self) -> None:
        if self._closing:
            raise UnavailableError(
                "The engine is closing.", "It finishes what runs.", "Try again after the restart."
            )


def _served(server: ModelServer, model: str) -> dict[str, int | None]:
    """All names of the server, `model` among them."""
    served = server.models()
    if model not in served:
        raise UnavailableError(
            f"The model server does not serve {model[:100]}.",
            f"It serves {', '.join(sorted(served))[:200] or 'nothing'}.",
            "Correct engine_model.",
        )
    return served


class _CancelledError(Exception):
    """The request was cancelled while it waited for room for its adapter."""


def _is_uniform(folder: Path) -> bool:
    """Whether rank and strength are the same at all layers: older servers do not read the patterns."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return True  # `read_adapter` says what is wrong with it
    return not (config.get("rank_pattern") or config.get("alpha_pattern"))
