"""Serve an ASGI application until somebody says stop: readiness goes off first, answers finish, then the port closes.

A load balancer sends requests here until it has seen «not ready» once. So there is a pause after the signal in which
everything is still answered.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn

from app.bootstrap import Console

LOG = structlog.get_logger(__name__)
STOP_TIMEOUT_S = 10


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM the console is not ready any more. `drain_seconds` later no new answer is begun (503), those
    that are under way have `finish_seconds`, and then the port closes.

    Ctrl-C closes it at once. A second signal does so, too, and answers that run end with what is there.
    """

    def __init__(self, config: uvicorn.Config, console: Console) -> None:
        super().__init__(config)
        self._console = console
        self._hurry = threading.Event()
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with the signal, in the main thread, which may hold any lock: what takes one is done by another."""
        self._signals += 1
        first = self._signals == 1
        if first:  # not again: a second signal may come while the first one holds the event's lock
            self._console.stopping.set()
        if first and sig != signal.SIGINT and self.started:
            self._captured_signals.append(sig)
            _in_background(self._drain)
            return
        super().handle_exit(sig, frame)
        if not first:
            _in_background(self._end_answers)

    def _drain(self) -> None:
        settings = self._console.settings
        self._hurry.wait(settings.drain_seconds)
        self._console.admission.close()
        if not self._console.admission.wait_until_empty(settings.finish_seconds):
            LOG.warning("server.answers_cut", answers=self._console.admission.inside)
            self._console.engine.close(0)
        self.should_exit = True

    def _end_answers(self) -> None:
        self._hurry.set()
        self._console.admission.close()
        self._console.engine.close(0)


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="stop", daemon=True).start()


def serve(app: Any, console: Console, *, host: str, port: int) -> None:
    """Run until SIGTERM or Ctrl-C; other requests than answers have some seconds to end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    server = DrainingServer(config, console)
    try:
        server.run()
    except KeyboardInterrupt:
        LOG.info("server.interrupted")
    if not server.started:
        raise SystemExit(3)
