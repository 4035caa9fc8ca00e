"""Serve an ASGI application until somebody says stop: readiness goes off first, then the port closes.

A load balancer sends requests here until it has seen «not ready» once. So between the signal and the closed port there
is a pause, in which everything is still answered.
"""

import signal
import threading
from types import FrameType
from typing import Any

import structlog
import uvicorn

from app.bootstrap import Console

LOG = structlog.get_logger(__name__)
STOP_TIMEOUT_S = 10


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM the console is not ready any more; the port closes `drain_s` later.

    Ctrl-C, and a second signal, close it at once.
    """

    def __init__(self, config: uvicorn.Config, stopping: threading.Event, drain_s: float) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._drain_s = drain_s
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with the signal, in the main thread."""
        self._signals += 1
        first = self._signals == 1
        if first:  # not again: a second signal may come while the first one holds the event's lock
            self._stopping.set()
        if not first or sig == signal.SIGINT or self._drain_s == 0 or not self.started:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        pause = threading.Timer(self._drain_s, self._close)
        pause.daemon = True
        pause.start()

    def _close(self) -> None:
        self.should_exit = True


def serve(app: Any, console: Console, *, host: str, port: int) -> None:
    """Run until SIGTERM or Ctrl-C; requests that run then have some seconds to end."""
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
    server = DrainingServer(config, console.stopping, console.settings.drain_seconds)
    try:
        server.run()
    except KeyboardInterrupt:
        LOG.info("server.interrupted")
    if not server.started:
        raise SystemExit(3)
