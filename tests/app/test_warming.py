"""The pre-warm list: ready before anybody asks, and no harm where it cannot be."""

from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from app.bootstrap import Console
from app.warming import prewarm
from core.tenants.records import Role


def holds(console: Console, digest: str) -> bool:
    """Whether this adapter alone is held as a composition, ready to answer."""
    entries = console.runtime.cache.get_cache_stats().entries
    return any(entry.adapters == (digest,) for entry in entries)


def bring(api: TestClient, workspace: Any, package: bytes) -> str:
    form = {"name": "warm", "type": "task"}
    answer = api.post(
        "/adapters", headers=workspace.headers(Role.TRAINER), files={"file": ("a.zip", package)}, data=form
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["digest"])


def listed(console: Console, names: str) -> Console:
    return replace(console, settings=console.settings.model_copy(update={"prewarm": names}))


def test_what_the_list_names_is_ready_and_the_rest_is_left_out(
    console: Console, api: TestClient, workspace: Any, adapter_zip: bytes
) -> None:
    digest = bring(api, workspace, adapter_zip)
    slug = workspace.tenant.slug
    console.runtime.cache.forget_adapter(digest)  # other tests have asked for the same content
    assert not holds(console, digest)
    thread = prewarm(listed(console, f"nobody:warm, {slug}, {slug}:none, {slug}:warm"))
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert holds(console, digest)


def test_an_empty_list_starts_nothing(console: Console) -> None:
    assert prewarm(listed(console, " , ")) is None
