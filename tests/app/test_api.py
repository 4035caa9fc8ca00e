"""The REST API: answers, errors, limits, and who sees what."""

import io
import json
import re
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.actions import people
from app.api.application import build_api
from app.api.mapping_schemas import EXAMPLE_MAPPING
from app.bootstrap import Console, build_console, utc_now
from app.key_uses import KeyUses
from app.rates import Rates
from core.errors import BusyError
from core.settings import Settings
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import Role

ERROR_FIELDS = {"code", "what", "why", "next_step", "request_id"}


def import_adapter(api: TestClient, headers: dict[str, str], package: bytes, **form: str) -> Any:
    chosen = {"name": "random", "type": "task", **form}
    return api.post("/adapters", headers=headers, files={"file": ("a.zip", package)}, data=chosen)


def test_health_says_alive_and_ready_says_what_is_missing(console: Console, tmp_path: Path) -> None:
    cold = build_console(Settings(home=console.settings.home))
    with TestClient(build_api(cold)) as api:
        assert api.get("/health").json()["status"] == "alive"
        answer = api.get("/ready")
    cold.close()
    assert answer.status_code == 503
    assert answer.json()["parts"] == [
        {"name": "database", "ready": True, "reason": ""},
        {"name": "engine", "ready": False, "reason": "The base model is not loaded yet."},
    ]


def test_ready_says_no_once_the_process_was_told_to_stop(api: TestClient, console: Console) -> None:
    console.engine()
    console.stopping.set()
    try:
        answer = api.get("/ready")
        assert api.get("/health").status_code == 200
    finally:
        console.stopping.clear()
    assert answer.status_code == 503
    assert answer.json()["parts"][-1] == {
        "name": "process",
        "ready": False,
        "reason": "It was told to stop.",
    }


def test_the_api_alone_sends_the_headers_of_the_console(api: TestClient, workspace: Any) -> None:
    for answer in (
        api.get("/health"),
        api.get("/nothing"),
        api.get("/adapters", headers=workspace.headers()),
        api.post("/inference", content=b"{", headers=workspace.headers()),
    ):
        sent = answer.headers
        assert sent["x-content-type-options"] == "nosniff"
        assert sent["x-frame-options"] == "DENY"
        assert sent["referrer-policy"] == "no-referrer"
        assert sent["cross-origin-opener-policy"] == sent["cross-origin-resource-policy"] == "same-origin"
        assert sent["content-security-policy"].startswith("default-src 'none'")
        assert "camera=()" in sent["permissions-policy"]
        assert "strict-transport-security" not in sent
        assert sent["cache-control"] == "no-store"
    behind_tls = TestClient(api.app, base_url="https://testserver")
    assert behind_tls.get("/health").headers["strict-transport-security"] == "max-age=31536000"


def test_ready_once_the_engine_is_loaded(api: TestClient, console: Console) -> None:
    console.engine()
    answer = api.get("/ready")
    assert answer.status_code == 200, answer.text
    assert answer.json()["ready"] is True


def test_a_prompt_is_answered_by_the_base(api: TestClient, workspace: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 4}
    answer = api.post("/inference", json=body, headers=workspace.headers(Role.VIEWER))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["adapters"] == []
    assert 1 <= told["completion_tokens"] <= 4
    assert told["request_id"].startswith("req_")
    assert answer.headers["x-request-id"] == told["request_id"]


def test_an_imported_adapter_is_listed_asked_and_exported(
    api: TestClient, workspace: Any, adapter_zip: bytes, console: Console
) -> None:
    made = import_adapter(api, workspace.headers(Role.TRAINER), adapter_zip)
    assert made.status_code == 201, made.text
    adapter = made.json()
    assert adapter["manifest"]["base_digest"] == console.base().digest
    assert [a["id"] for a in api.get("/adapters", headers=workspace.headers()).json()["items"]] == [
        adapter["id"]
    ]

    body = {"model": "random", "messages": [{"role": "user", "content": "hello"}], "max_new_tokens": 2}
    answer = api.post("/inference", json=body, headers=workspace.headers(Role.VIEWER)).json()
    assert [(a["id"], a["weight"]) for a in answer["adapters"]] == [(adapter["id"], 1.0)]

    package = api.get(f"/adapters/{adapter['id']}/export", headers=workspace.headers(Role.VIEWER))
    assert package.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        assert json.loads(archive.read("manifest.json"))["digest"] == adapter["digest"]


def test_no_answer_tells_where_files_lie(
    api: TestClient, workspace: Any, adapter_zip: bytes, console: Console
) -> None:
    made = import_adapter(api, workspace.headers(), adapter_zip).json()
    texts = [api.get(f"/adapters/{made['id']}", headers=workspace.headers()).text]
    texts += [
        api.get(path, headers=workspace.headers()).text
        for path in ("/adapters", "/datasets", "/training/jobs")
    ]
    assert not any(str(console.settings.home) in text for text in texts)


def test_a_federation_is_saved_listed_and_asked(api: TestClient, workspace: Any, adapter_zip: bytes) -> None:
    import_adapter(api, workspace.headers(), adapter_zip)
    spec = {"terms": [{"adapter": "random", "weight": 0.5}]}
    saved = api.post(
        "/composition/federations",
        json={"name": "Half", "spec": spec},
        headers=workspace.headers(Role.TRAINER),
    )
    assert saved.status_code == 201, saved.text
    listed = api.get("/composition/federations", headers=workspace.headers(Role.VIEWER)).json()["items"]
    assert [(f["name"], f["version"]) for f in listed] == [("Half", 1)]
    body = {"model": "Half", "messages": [{"role": "user", "content": "x"}], "max_new_tokens": 1}
    answer = api.post("/inference", json=body, headers=workspace.headers()).json()
    assert [a["weight"] for a in answer["adapters"]] == [0.5]


def test_a_federation_of_an_unknown_adapter_is_not_saved(api: TestClient, workspace: Any) -> None:
    body = {"name": "Half", "spec": {"terms": [{"adapter": "nothing"}]}}
    assert api.post("/composition/federations", json=body, headers=workspace.headers()).status_code == 404
    assert api.get("/composition/federations", headers=workspace.headers()).json() == {"items": []}


def test_a_training_file_is_imported_and_a_job_submitted_watched_and_cancelled(
    api: TestClient, workspace: Any, training_file: bytes
) -> None:
    headers = workspace.headers(Role.TRAINER)
    made = api.post(
        "/datasets", headers=headers, files={"file": ("t.jsonl", training_file)}, data={"name": "numbers"}
    )
    assert made.status_code == 201, made.text
    assert made.json()["rows"] == 22
    assert [d["name"] for d in api.get("/datasets", headers=headers).json()["items"]] == ["numbers"]

    body = {
        "name": "numbers",
        "adapter_type": "task",
        "dataset": "numbers",
        "choices": {"epochs": 1, "rank": 2},
    }
    job = api.post("/training/jobs", json=body, headers=headers)
    assert job.status_code == 202, job.text
    assert (job.json()["state"], job.json()["spec"]["lora"]["rank"]) == ("queued", 2)
    place = f"/training/jobs/{job.json()['id']}"
    assert api.get(place, headers=headers).json()["name"] == "numbers"
    assert api.get(f"{place}/points", headers=headers).json() == {"items": []}
    assert api.delete(place, headers=workspace.headers(Role.VIEWER)).status_code == 403
    assert api.delete(place, headers=headers).json()["state"] == "cancelled"
    states = api.get("/training/jobs", params={"state": "cancelled"}, headers=headers).json()["items"]
    assert [j["id"] for j in states] == [job.json()["id"]]


def test_a_file_with_wrong_lines_is_refused_with_their_numbers(api: TestClient, workspace: Any) -> None:
    content = b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n'
    answer = api.post(
        "/datasets", headers=workspace.headers(), files={"file": ("t.jsonl", content)}, data={"name": "bad"}
    )
    assert answer.status_code == 422
    assert "2" in answer.json()["error"]["why"]


def test_a_pickle_is_refused_by_its_content(api: TestClient, workspace: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("adapter_model.safetensors", b"\x80\x04\x95\x0b\x00\x00\x00.")
        archive.writestr("adapter_config.json", "{}")
    answer = import_adapter(api, workspace.headers(), packed.getvalue())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "refused_file")


def test_registration_needs_an_administrator_and_gives_a_workspace_that_can_be_used(
    api: TestClient, workspace: Any
) -> None:
    body = {"name": "North Stores", "admin_email": "ops@north.example"}
    assert api.post("/tenants/register", json=body).status_code == 401
    assert (
        api.post("/tenants/register", json=body, headers=workspace.headers(Role.TRAINER)).status_code == 403
    )
    made = api.post("/tenants/register", json=body, headers=workspace.headers())
    assert made.status_code == 201, made.text
    headers = {"authorization": f"Bearer {made.json()['api_key']}"}
    names = {d["name"] for d in api.get("/datasets", headers=headers).json()["items"]}
    assert "retailer_alpha" in names


def test_registration_is_open_where_the_settings_say_so(console: Console) -> None:
    opened = build_console(Settings(home=console.settings.home, open_registration=True))
    with TestClient(build_api(opened)) as api:
        body = {"name": "South", "admin_email": "ops@south.example"}
        statuses = [api.post("/tenants/register", json=body).status_code for _ in range(6)]
    opened.close()
    assert statuses == [201] * 5 + [429]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/adapters/adp_unknown", {}, 404, "not_found"),
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("PUT", "/adapters", {}, 405, "wrong_method"),
        ("POST", "/inference", {"json": {"messages": []}}, 422, "invalid_input"),
        (
            "POST",
            "/inference",
            {"content": b"{", "headers": {"content-type": "application/json"}},
            422,
            "invalid_input",
        ),
        (
            "POST",
            "/inference",
            {"content": b"\xff\xfe", "headers": {"content-type": "application/json"}},
            422,
            "",
        ),
        ("GET", "/training/jobs?limit=0", {}, 422, "invalid_input"),
        (
            "POST",
            "/training/jobs",
            {"json": {"name": "x", "adapter_type": "task", "dataset": "no"}},
            404,
            "not_found",
        ),
        ("POST", "/inference", {"content": b" " * (3 << 20)}, 413, "too_large"),
    ],
)
def test_every_failure_has_the_same_shape(
    api: TestClient, workspace: Any, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    headers = {**workspace.headers(), **options.pop("headers", {})}
    answer = api.request(method, path, headers=headers, **options)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == ERROR_FIELDS
    assert error["what"]
    assert not code or error["code"] == code
    assert answer.headers["x-request-id"] == error["request_id"]
    assert "Traceback" not in answer.text


def test_an_unforeseen_failure_tells_an_id_and_nothing_else(
    api: TestClient, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is in /etc/passwd")

    monkeypatch.setattr("app.actions.adapters.list_adapters", broken)
    answer = api.get("/adapters", headers=workspace.headers())
    assert answer.status_code == 500
    assert "passwd" not in answer.text
    assert answer.json()["error"]["request_id"] in answer.json()["error"]["next_step"]


def test_a_body_without_a_told_length_is_cut_off_at_the_limit(api: TestClient, workspace: Any) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    answer = api.post("/inference", content=pieces(), headers=workspace.headers())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_an_upload_over_the_limit_is_refused_before_it_is_read(api: TestClient, workspace: Any) -> None:
    answer = api.post(
        "/datasets",
        headers=workspace.headers(),
        files={"file": ("t.jsonl", b"x" * (2 << 20))},
        data={"name": "large"},
    )
    assert answer.status_code == 413


def test_the_id_of_a_request_is_ours_whatever_the_client_sends(api: TestClient) -> None:
    sent = "mine-" + "x" * 500
    answers = [api.get("/health", headers={"x-request-id": sent}) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(each.startswith("req_") for each in ids)
    assert ids[0] != ids[1]


def test_the_tenant_comes_from_the_key_alone(
    api: TestClient, workspace: Any, other_workspace: Any, adapter_zip: bytes
) -> None:
    import_adapter(api, other_workspace.headers(), adapter_zip)
    forged = {
        **workspace.headers(),
        "x-tenant-id": other_workspace.tenant.id,
        "x-tenant": other_workspace.tenant.slug,
    }
    assert api.get("/adapters", headers=forged).json() == {"items": []}


def test_what_another_workspace_has_is_not_there(
    api: TestClient, workspace: Any, other_workspace: Any, adapter_zip: bytes, training_file: bytes
) -> None:
    theirs = other_workspace.headers()
    adapter = import_adapter(api, theirs, adapter_zip).json()["id"]
    api.post(
        "/datasets", headers=theirs, files={"file": ("t.jsonl", training_file)}, data={"name": "numbers"}
    )
    body = {"name": "numbers", "adapter_type": "task", "dataset": "numbers", "choices": {"epochs": 1}}
    job = api.post("/training/jobs", json=body, headers=theirs).json()["id"]
    spec = {"name": "Both", "spec": {"terms": [{"adapter": adapter}]}}
    api.post("/composition/federations", json=spec, headers=theirs)
    saved = api.post("/mappings", headers=theirs, json={"name": "north", "mapping": EXAMPLE_MAPPING})
    mapping = saved.json()["mapping_id"]
    # Their finished runs are asked for in test_mapping_api.py, where a run is made.
    ids = {
        "adapter_id": adapter,
        "job_id": job,
        "mapping_id": mapping,
        "version": "1",
        "run_id": "hrun_theirs",
    }
    none = {name: f"{value.split('_')[0]}_none" for name, value in ids.items()} | {"version": "1"}

    asked = 0
    for path, methods in build_api_paths(api).items():
        for method in methods:
            if set(re.findall(r"{(\w+)}", path)) - ids.keys():
                continue  # names, preparations and limits: tests/security/test_tenants_apart.py
            if "{" in path:
                answer = api.request(method, path.format(**ids), headers=workspace.headers())
                missing = api.request(method, path.format(**none), headers=workspace.headers())
                assert (answer.status_code, missing.status_code) == (404, 404), (method, path)
                # The same words for what is not there and for what is not yours.
                told = [a.json()["error"]["what"] for a in (answer, missing)]
                assert _without(told[0], ids) == _without(told[1], none)
                asked += 1
            elif method == "get" and path not in ("/health", "/ready", "/v1/models"):
                answer = api.get(path, headers=workspace.headers())
                assert not any(value in answer.text for value in (adapter, job, mapping)), path
                is_json = answer.headers["content-type"].startswith("application/json")
                if path != "/alerts/rules":  # those that every workspace begins with
                    assert (answer.json().get("items", []) if is_json else []) == [], path
                asked += 1
    assert asked >= 8
    for model in (adapter, "random", "Both"):
        question = {"model": model, "messages": [{"role": "user", "content": "x"}]}
        assert api.post("/inference", json=question, headers=workspace.headers()).status_code == 404
    assert api.post("/training/jobs", json=body, headers=workspace.headers()).status_code == 404
    assert [j["state"] for j in api.get("/training/jobs", headers=theirs).json()["items"]] == ["queued"]


def _without(text: str, ids: dict[str, str]) -> str:
    for value in ids.values():
        text = text.replace(value, "·") if "_" in value else text
    return text


def build_api_paths(api: TestClient) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = api.get("/openapi.json").json()["paths"]
    return paths


def test_the_same_name_in_two_workspaces_means_two_adapters(
    api: TestClient, workspace: Any, other_workspace: Any, adapter_zip: bytes
) -> None:
    mine = import_adapter(api, workspace.headers(), adapter_zip).json()
    theirs = import_adapter(api, other_workspace.headers(), adapter_zip).json()
    assert mine["id"] != theirs["id"]
    body = {"model": "random", "messages": [{"role": "user", "content": "x"}], "max_new_tokens": 1}
    for space, adapter in ((workspace, mine), (other_workspace, theirs)):
        answer = api.post("/inference", json=body, headers=space.headers()).json()
        assert [a["id"] for a in answer["adapters"]] == [adapter["id"]]


def test_a_revoked_or_expired_key_opens_nothing_at_once(
    api: TestClient, workspace: Any, console: Console
) -> None:
    now = utc_now()
    with console.database.transaction() as s:
        soon = tenants.create_api_key(
            s,
            workspace.tenant.id,
            name="short",
            role=Role.VIEWER,
            created_by="test",
            expires_at=now + timedelta(milliseconds=300),
            now=now - timedelta(seconds=1),
        )
        gone = tenants.create_api_key(
            s, workspace.tenant.id, name="gone", role=Role.VIEWER, created_by="test", now=now
        )
    headers = {"x-api-key": gone.secret}
    assert api.get("/adapters", headers=headers).status_code == 200
    with console.database.transaction() as s:
        tenants.revoke_api_key(s, workspace.tenant.id, gone.key.id, now=utc_now())
    assert api.get("/adapters", headers=headers).status_code == 401
    time.sleep(max(0.0, (now + timedelta(milliseconds=310) - utc_now()).total_seconds()))
    assert api.get("/adapters", headers={"authorization": f"Bearer {soon.secret}"}).status_code == 401


def test_the_use_of_a_key_is_noted_once_a_minute(workspace: Any, console: Console) -> None:
    moment = utc_now()
    standing = replace(console, key_uses=KeyUses(), clock=lambda: moment)
    secret = workspace.keys[Role.VIEWER]

    def last_used() -> object:
        return {k.name: k.last_used_at for k in people.list_keys(standing, workspace.principal())}["viewer"]

    first = moment
    assert people.principal_of_key(standing, secret) is not None
    moment += timedelta(seconds=59)
    assert people.principal_of_key(standing, secret) is not None
    assert last_used() == first
    moment += timedelta(seconds=2)
    assert people.principal_of_key(standing, secret) is not None
    assert last_used() == moment
    assert people.principal_of_key(standing, secret[:-1] + "x") is None


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Basic rmn_AAAA", "Bearer rmn_" + "A" * 43, "Bearer rmn_" + "A" * 5000],
)
def test_a_wrong_credential_is_401(api: TestClient, header: str) -> None:
    answer = api.get("/adapters", headers={"authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_secrets_are_neither_in_the_database_nor_in_the_log(
    api: TestClient, workspace: Any, console: Console, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level("DEBUG"):
        api.get("/adapters", headers=workspace.headers())
    copy = tmp_path / "copy.sqlite"
    source = sqlite3.connect(console.settings.home / "rmn.sqlite")
    target = sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    stored = copy.read_bytes()
    for secret in workspace.keys.values():
        assert secret.encode() not in stored
        assert secret not in caplog.text


def test_a_tenant_that_asks_too_often_waits_and_others_do_not(
    console: Console, workspace: Any, other_workspace: Any
) -> None:
    limited = build_console(Settings(home=console.settings.home, requests_per_minute=3))
    with TestClient(build_api(limited)) as api:
        answers = [api.get("/adapters", headers=workspace.headers(role)) for role in (*Role, Role.VIEWER)]
        other = api.get("/adapters", headers=other_workspace.headers())
    limited.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].json()["error"]["code"] == "busy"
    assert other.status_code == 200


def test_failed_sign_ins_are_counted_by_account_and_by_host() -> None:
    rates = Rates(100)
    for _ in range(10):
        rates.check_sign_in("a@x", "10.0.0.1")
        rates.count_failed_sign_in("a@x", "10.0.0.1")
    with pytest.raises(BusyError) as refused:
        rates.check_sign_in("a@x", "10.0.0.2")
    assert 1 <= refused.value.retry_after_s <= 60
    rates.check_sign_in("b@x", "10.0.0.1")


@pytest.mark.parametrize(
    ("role", "allowed"), [(Role.VIEWER, 403), (Role.REVIEWER, 403), (Role.TRAINER, 201), (Role.ADMIN, 201)]
)
def test_the_api_decides_by_role(
    api: TestClient, workspace: Any, training_file: bytes, role: Role, allowed: int
) -> None:
    answer = api.post(
        "/datasets",
        headers=workspace.headers(role),
        files={"file": ("t.jsonl", training_file)},
        data={"name": "numbers"},
    )
    assert answer.status_code == allowed


def test_every_change_is_in_the_audit_log(
    api: TestClient, workspace: Any, console: Console, adapter_zip: bytes, training_file: bytes
) -> None:
    headers = workspace.headers(Role.TRAINER)
    adapter = import_adapter(api, headers, adapter_zip).json()
    api.get(f"/adapters/{adapter['id']}/export", headers=headers)
    api.post(
        "/datasets", headers=headers, files={"file": ("t.jsonl", training_file)}, data={"name": "numbers"}
    )
    body = {"name": "numbers", "adapter_type": "task", "dataset": "numbers", "choices": {"epochs": 1}}
    job = api.post("/training/jobs", json=body, headers=headers).json()
    api.delete(f"/training/jobs/{job['id']}", headers=headers)
    api.post(
        "/composition/federations",
        json={"name": "One", "spec": {"terms": [{"adapter": "random"}]}},
        headers=headers,
    )
    with console.database.reading() as s:
        entries = audit.list_entries(s, workspace.tenant.id)
        assert audit.verify(s, workspace.tenant.id).first_bad_seq is None
    assert [entry.action for entry in reversed(entries)] == [
        "adapter.imported",
        "adapter.exported",
        "dataset.imported",
        "training.submitted",
        "training.cancelled",
        "federation.saved",
    ]
    assert {entry.actor.partition(" ")[0] for entry in entries} == {"trainer"}
