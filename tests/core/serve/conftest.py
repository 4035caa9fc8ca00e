"""A runtime on the real engine, which answers with the tiny base."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from core.engine.records import EnginePort, Message
from core.serve.records import InferenceRequest
from core.serve.runtime import Runtime
from core.storage.database import Database
from core.tenants.records import Principal, Role, Tenant


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> Iterator[EnginePort]:
    from core.engine.base import load_base
    from core.engine.local import LocalEngine

    engine = LocalEngine(load_base(tiny_base), adapter_slots=4)
    yield engine
    engine.close()


@pytest.fixture
def runtime(sqlite_database: Database, engine: EnginePort, now: datetime) -> Runtime:
    return Runtime(sqlite_database, lambda: engine, max_new_tokens=40, clock=lambda: now)


@pytest.fixture
def principal(sqlite_tenant: Tenant) -> Principal:
    return Principal(sqlite_tenant.id, sqlite_tenant.name, "a@example.com", Role.VIEWER)


@pytest.fixture
def ask() -> Callable[..., InferenceRequest]:
    def ask(prompt: str = "hello", **more: object) -> InferenceRequest:
        values = {"messages": (Message("user", prompt),), "max_new_tokens": 12}
        return InferenceRequest.model_validate(values | more)

    return ask
