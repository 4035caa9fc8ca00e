"""An offline comparison in a thread of its own: the screen looks on, and may come and go meanwhile."""

import threading
import time
from collections.abc import Sequence

import structlog

from app.actions.offline import OfflineComparison, OfflinePrompt, Scorer, compare_offline
from app.ui.visit import Visit
from core.errors import ConflictError, RmnError, UnavailableError

LOG = structlog.get_logger(__name__)
UNWATCHED_S = 120.0


class OfflineRun:
    """Two compositions on the same prompts. Given up when nobody has looked for two minutes."""

    def __init__(
        self,
        titles: tuple[str, str],
        models: tuple[str, str],
        prompts: Sequence[OfflinePrompt],
        scorer: Scorer,
        longest: int,
    ) -> None:
        self.titles, self.models, self.prompts = titles, models, tuple(prompts)
        self.scorer, self.longest = scorer, longest
        self.done = 0
        self.result: OfflineComparison | None = None
        self.error: RmnError | None = None
        self.over = threading.Event()
        self._stopped = threading.Event()
        self._began = self._watched_at = time.monotonic()

    def start(self, visit: Visit) -> None:
        """Begin."""
        threading.Thread(target=self._run, args=(visit,), name="offline-comparison", daemon=True).start()

    def watch(self) -> None:
        """Somebody still looks."""
        self._watched_at = time.monotonic()

    def stop(self) -> None:
        """Nobody wants the rest: it ends after the prompt that is being answered."""
        self._stopped.set()

    def seconds_left(self) -> float | None:
        """By what the prompts took so far; None before the first is done."""
        if not self.done:
            return None
        return (time.monotonic() - self._began) / self.done * (len(self.prompts) - self.done)

    def _run(self, visit: Visit) -> None:
        control, challenger = ({"model": model} for model in self.models)
        try:
            self.result = compare_offline(
                visit.console,
                visit.principal,
                dict(control),
                dict(challenger),
                self.prompts,
                scorer=self.scorer,
                max_new_tokens=self.longest,
                heard=self._hear,
            )
        except RmnError as error:
            self.error = error
        except Exception:
            LOG.exception("offline.failed")
            self.error = UnavailableError(
                "The comparison failed.",
                "Something unexpected happened; the log has the details.",
                "Try again.",
            )
        finally:
            self.over.set()

    def _hear(self, done: int) -> None:
        self.done = done
        if done < len(self.prompts) and (
            self._stopped.is_set() or time.monotonic() - self._watched_at > UNWATCHED_S
        ):
            raise ConflictError(
                "The comparison was stopped.",
                f"{done} of {len(self.prompts)} prompts were done.",
                "Start it again.",
            )
