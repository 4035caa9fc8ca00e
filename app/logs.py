"""Logging: one line per event, with its name, the request and tenant it belongs to, and never a secret."""

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from core.settings import Settings

HIDDEN = "•••"
TEXT_LIMIT = 4000
_SECRET_NAMES = re.compile(r"(?i)password|secret|token\b|api_?key|authorization|cookie")
# API secrets, sign-in tokens in a URL, and passwords in a database URL.
_SECRET_TEXTS = re.compile(r"rmn_[A-Za-z0-9_-]{43}|(?<=token=)[^&\s\"']+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")


def configure_logging(settings: Settings) -> None:
    """Send this product's and its libraries' log lines to stderr, as text or as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(settings.log_level.upper())
    for name in ("httpx", "httpcore", "urllib3", "asyncio", "filelock", "alembic", "multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)


def adopt_library_loggers() -> None:
    """Let the loggers that Streamlit set up write as all others do, and never the addresses that were asked for.

    Call it when Streamlit has started. An address may hold a sign-in token; the routes log without it.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        own = getattr(logger, "streamlit_console_handler", None)
        if isinstance(logger, logging.Logger) and own is not None:
            logger.removeHandler(own)
            logger.propagate = True
        if name == "uvicorn.access" and isinstance(logger, logging.Logger):
            logger.disabled = True


@contextmanager
def bound(**names: Any) -> Iterator[None]:
    """Say with every line logged within: which request, which tenant, which job."""
    with structlog.contextvars.bound_contextvars(**names):
        yield


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what is named like a secret or looks like one; cut endless texts."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = _SECRET_TEXTS.sub(HIDDEN, value[:TEXT_LIMIT] if name != "exception" else value)
    return event
