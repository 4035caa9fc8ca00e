"""The calls of docs/experiments.md, exactly as they stand there, on a workspace as an installation begins with it."""

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console, utc_now
from core.demo.workspace import prepare_workspace
from core.settings import PROJECT_ROOT
from core.tenants import service as tenants
from core.tenants.records import Role

CALL = re.compile(
    r"curl -s (-X POST )?\$API(\S+) -H \"Authorization: Bearer \$KEY\"([^'\n]*'Content-Type[^'\n]*' -d '([^']*)')?"
)


@pytest.fixture
def trainer(console: Console) -> dict[str, str]:
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Fresh demo", now=utc_now())
        prepare_workspace(s, tenant.id, project_root=PROJECT_ROOT, now=utc_now())
        key = tenants.create_api_key(
            s, tenant.id, name="experiments", role=Role.TRAINER, created_by="test", now=utc_now()
        )
    return {"authorization": f"Bearer {key.secret}"}


def five_calls() -> list[tuple[str, str, Any]]:
    text = (PROJECT_ROOT / "docs" / "experiments.md").read_text()
    block = text.split("## In five calls")[1].split("\n## ")[0]
    assert "keys create experiments --role trainer" in block
    found = [
        ("POST" if posted or body else "GET", path, json.loads(body) if body else None)
        for posted, path, _, body in CALL.findall(block)
    ]
    assert block.count("curl ") == len(found) == 5
    return found


def test_the_five_calls_work_as_they_are_written(api: TestClient, trainer: dict[str, str]) -> None:
    answers = []
    for method, path, body in five_calls():
        told = api.request(method, path, json=body, headers=trainer)
        assert told.status_code in (200, 201), (path, told.text)
        answers.append(told.json())
    asked, impression, results = answers[2], five_calls()[3][2], answers[4]
    assert (
        asked["variant"] == impression["variant_id"]
    )  # else the unit would be in two arms, and count in none
    assert results["crossed_units"] == 0
    assert results["variants"][asked["variant"]]["units"] == 1
