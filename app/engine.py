"""The engine of this process: opened once, when it is first needed, by whichever thread comes first."""

import logging
import threading
from functools import partial
from pathlib import Path

from core.engine.open import open_engine
from core.engine.records import EnginePort
from core.errors import RmnError, UnavailableError
from core.registry.bases import BaseFacts, base_folder, describe_base, list_bases, read_base_facts
from core.registry.records import BaseModelCard
from core.settings import PROJECT_ROOT, Settings

LOG = logging.getLogger(__name__)
MODELS_DIR = PROJECT_ROOT / "models"


class EngineOnDemand:
    """Call it to get the engine. A failure to open is raised to each caller and tried again by the next."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._engine: EnginePort | None = None
        self._closing: EnginePort | None = None
        self._closed = False

    def __call__(self) -> EnginePort:
        """The engine; the first caller opens it, others wait. Raises UnavailableError."""
        engine = self._engine
        if engine is None:
            with self._lock:
                self._check_open()
                if self._engine is None:
                    opened = _open(self._settings)
                    if self._closed:
                        opened.close()
                        self._check_open()
                    self._engine = opened
                engine = self._engine
        return engine

    @property
    def loaded(self) -> bool:
        """Whether it is open. Opens nothing and waits for nobody."""
        return self._engine is not None

    def open_in_background(self) -> threading.Thread:
        """Start to open it, so that the first request need not wait. A failure is logged, and tried again later."""
        thread = threading.Thread(target=self._try_open, name="open-engine", daemon=True)
        thread.start()
        return thread

    def close(self, timeout_s: float | None = None) -> None:
        """Let what runs finish, then free it. Nothing is opened from now on; who opens it just now frees it.

        What still runs after `timeout_s` (None: as the settings say) ends with what is there; a second call may shorten
        that.
        """
        self._closed = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._closing, self._engine = self._engine or self._closing, None
            engine = self._closing
        finally:
            self._lock.release()
        if engine is not None:
            engine.close(timeout_s)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("This process is stopping.", "", "Send the request again in a moment.")

    def _try_open(self) -> None:
        try:
            self()
        except UnavailableError as error:
            LOG.warning("engine.not_opened: %s", error)


class BaseOnDemand:
    """Facts of the base model that this process answers with. Its digest is computed once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._facts: BaseFacts | None = None
        self._cards: list[BaseModelCard] | None = None

    def __call__(self) -> BaseFacts:
        """Raises NotFoundError, RefusedFileError, or UnavailableError for a base that is not on this disk yet."""
        with self._lock:
            if self._facts is None:
                folder = base_folder(self._settings.base_model, MODELS_DIR)
                if not isinstance(folder, Path):
                    raise _not_fetched(folder)
                self._facts = read_base_facts(folder, name=self._settings.base_model)
            return self._facts

    def cards(self) -> list[BaseModelCard]:
        """The shipped bases, and first of all the one that answers here."""
        with self._lock:
            if self._cards is None:
                configured = describe_base(self._settings.base_model, MODELS_DIR)
                others = [card for card in list_bases(MODELS_DIR) if card.name != configured.name]
                cards = [configured, *others]
                if configured.digest is None:
                    return cards
                self._cards = cards
            return list(self._cards)


def _not_fetched(hub_id: str) -> UnavailableError:
    return UnavailableError(
        f"The base model {hub_id} is not on this disk yet.",
        "Adapters are checked against its files.",
        "Ask it something once, so that it is fetched, and try again.",
    )


def _open(settings: Settings) -> EnginePort:
    try:
        from core.compose.export import export_for_server  # scipy and its like are for model servers alone

        export = partial(export_for_server, max_rank=settings.engine_max_rank)
        return open_engine(settings, base_folder(settings.base_model, MODELS_DIR), export)
    except RmnError as error:
        raise UnavailableError(
            "The base model could not be loaded.", f"{error.what} {error.why}".strip(), error.next_step
        ) from error
    except Exception as error:  # whatever a model library raises must not end a thread of the console
        LOG.exception("engine.failed_to_open")
        raise UnavailableError(
            "The base model could not be loaded.",
            f"{type(error).__name__}: {str(error)[:300]}",
            "See the log; `python -m app doctor` checks the base model.",
        ) from error
