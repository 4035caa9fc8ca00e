"""The API of the same installation with other settings: its own limits and metrics, the engine that is open already."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console


@contextmanager
def another(console: Console, **settings: Any) -> Iterator[tuple[TestClient, Console]]:
    """The API of the same installation with other settings and metrics of its own; the engine is shared."""
    made = build_console(console.settings.model_copy(update=settings))
    sharing = replace(made, engine=console.engine, runtime=console.runtime)
    with TestClient(build_api(sharing), raise_server_exceptions=False) as api:
        yield api, sharing
    made.close()
