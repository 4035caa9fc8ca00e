"""OpenAI's chat format: text that is no text is refused by name and never fails inside."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from core.tenants.records import Role


@pytest.mark.parametrize(
    "metadata",
    [r'{"task": "\ud800"}', r'{"retailer": "\udfff x"}', r'{"\ud800": "a"}'],
    ids=["task", "value", "name"],
)
def test_half_a_surrogate_pair_in_metadata_is_refused(api: TestClient, workspace: Any, metadata: str) -> None:
    body = (
        '{"model": "base", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}], "metadata": %s}'
    )
    told = api.post(
        "/v1/chat/completions",
        content=body % metadata,
        headers={**workspace.headers(Role.VIEWER), "content-type": "application/json"},
    )
    assert told.status_code == 422
    assert "metadata" in told.json()["error"]["message"]
    assert told.json()["error"]["type"] == "invalid_request_error"


def test_metadata_of_any_script_is_taken(api: TestClient, workspace: Any) -> None:
    body = {
        "model": "base",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "a"}],
        "metadata": {"task": "Ωmega 🛒", "märkte": "日本"},
    }
    told = api.post("/v1/chat/completions", json=body, headers=workspace.headers(Role.VIEWER))
    assert told.status_code == 200
