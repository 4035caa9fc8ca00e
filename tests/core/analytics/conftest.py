"""What tests of analytics share.

| fixture    | gives                                                                                     |
|------------|-------------------------------------------------------------------------------------------|
| `record`   | function: put requests of a tenant into a database, by a recorder that stands at a moment |
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from core.analytics.costs import Prices
from core.analytics.recorder import Recorder
from core.storage.database import Database


@pytest.fixture
def record() -> Callable[..., Recorder]:
    """`requests`: (adapter, ms, success) each; all at the same moment."""

    def record(
        database: Database,
        tenant_id: str,
        at: datetime,
        requests: list[tuple[str, float, bool]],
        **more: Any,
    ) -> Recorder:
        recorder = Recorder(database, prices=more.pop("prices", Prices()), seconds=at.timestamp)
        for adapter, latency_ms, success in requests:
            recorder.record_request(tenant_id, adapter, "retailer", latency_ms, success, **more)
        assert recorder.write()
        recorder.close()
        return recorder

    return record
