"""tenants limits | usage, as a person and as a program use them."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from app.__main__ import main
from app.prepare import DEMO_SLUG
from core.settings import Settings
from core.storage.database import Database
from core.tenants import limits
from core.tenants import service as tenants
from core.tenants.records import UsageDay

Run = Callable[..., str]


@pytest.fixture
def run(
    tmp_path: Path,
    sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    monkeypatch.setenv("RMN_HOME", str(home))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run_one(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        found = main(list(arguments))
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        return out

    yield run_one
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_limits_are_shown_set_and_given_back_and_usage_is_told_by_day(run: Run, tmp_path: Path) -> None:
    assert "requests per minute  6,000 (from the settings)" in run("tenants", "limits")
    told = json.loads(run("tenants", "limits", "--tokens-per-day", "5000", "--weight", "3", "--json"))
    assert told["tenant_slug"] == DEMO_SLUG
    assert (told["given"]["tokens_per_day"], told["given"]["weight"]) == (5000, 3)
    assert told["given"]["requests_per_minute"] is None
    assert told["counting"]["requests_per_minute"] == 6000
    told = json.loads(run("tenants", "limits", "--default", "tokens-per-day", "--json"))
    assert (told["given"]["tokens_per_day"], told["given"]["weight"]) == (None, 3)
    assert "There is no limit «speed»" in run("tenants", "limits", "--default", "speed", "--json", status=1)
    assert "whole number from 1" in run("tenants", "limits", "--weight", "0", "--json", status=1)
    assert "Nothing was used" in run("tenants", "usage")
    database, now = Database(Settings(home=tmp_path / "home").resolved_database_url), datetime.now(UTC)
    with database.transaction() as s:
        tenant = tenants.find_tenant_by_slug(s, DEMO_SLUG)
        assert tenant is not None
        limits.add_usage(s, tenant.id, UsageDay(limits.day_of(now), 2, 1500, 7))
    database.close()
    assert json.loads(run("tenants", "usage", "--json")) == [
        {"day": limits.day_of(now).isoformat(), "requests": 2, "prompt_tokens": 1500, "completion_tokens": 7}
    ]
    assert "1,500" in run("tenants", "usage", "--days", "1")
