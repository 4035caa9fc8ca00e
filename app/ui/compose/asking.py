"""One prompt sent to several columns at once. Threads ask; the screen looks on, and may come and go meanwhile."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import structlog

from app.actions import compositions
from app.ui.visit import Visit
from core.compose.records import CompositionSpec
from core.engine.records import Message
from core.errors import RmnError, UnavailableError
from core.serve.records import InferenceAnswer, InferenceRequest

LOG = structlog.get_logger(__name__)
UNWATCHED_S = 30.0


@dataclass(frozen=True, slots=True)
class Column:
    """Something that answers: what it is called, and a composition or the name of a model."""

    title: str
    spec: CompositionSpec | None = None
    model: str | None = None


class Asked:
    """The answers to one prompt, as far as they have come. A column that nobody watches any more is given up."""

    def __init__(
        self, columns: Sequence[Column], messages: Sequence[Message], longest: int, expected: str | None
    ) -> None:
        self.columns, self.messages = tuple(columns), tuple(messages)
        self.longest, self.expected = longest, expected
        self.texts = [""] * len(self.columns)
        self.answers: list[InferenceAnswer | RmnError | None] = [None] * len(self.columns)
        self._watched_at = time.monotonic()
        self._stopped = threading.Event()

    @property
    def done(self) -> int:
        """Columns that have ended."""
        return sum(answer is not None for answer in self.answers)

    @property
    def over(self) -> bool:
        """Whether all have."""
        return self.done == len(self.columns)

    def start(self, visit: Visit) -> None:
        """Ask all columns, each in a thread of its own."""
        for place in range(len(self.columns)):
            threading.Thread(target=self._ask, args=(visit, place), name="ask-column", daemon=True).start()

    def watch(self) -> None:
        """Somebody still looks."""
        self._watched_at = time.monotonic()

    def stop(self) -> None:
        """Nobody wants the rest."""
        self._stopped.set()

    def _ask(self, visit: Visit, place: int) -> None:
        try:
            outcome: InferenceAnswer | RmnError = self._stream(visit, place)
        except RmnError as error:
            outcome = error
        except Exception:
            LOG.exception("columns.failed")
            outcome = UnavailableError("The answer failed.", "Something unexpected happened.", "Ask again.")
        self.answers[place] = outcome

    def _stream(self, visit: Visit, place: int) -> InferenceAnswer | RmnError:
        column = self.columns[place]
        request = InferenceRequest(
            messages=self.messages,
            composition=column.spec,
            model=column.model,
            max_new_tokens=self.longest,
        )
        stream: Any = compositions.stream(visit.console, visit.principal, request)
        with closing(stream) as pieces:
            for piece in pieces:
                if piece.final is not None:
                    final: InferenceAnswer = piece.final
                    return final
                self.texts[place] += piece.text
                if self._stopped.is_set() or time.monotonic() - self._watched_at > UNWATCHED_S:
                    return UnavailableError("The answer was stopped.", "", "Ask again.")
        return UnavailableError("The answer was cut off.", "The engine ended it early.", "Ask again.")
