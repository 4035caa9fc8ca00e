"""Rows 1 to 5 and 9: who may do what, and nobody sees what another workspace has."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient
from streamlit.runtime import Runtime

from app.asgi import build_app
from app.bootstrap import Console, shared_console
from core.tenants.records import Role

Workspace = Any
SAY = [{"role": "user", "content": "hello"}]
EXAMPLE = b'{"prompt": "a", "completion": "b"}\n'

# The least role that a route needs, written down a second time: a change of the policies has to be meant.
LEAST_ROLE = {
    ("get", "/health"): None,
    ("get", "/ready"): None,
    ("post", "/inference"): Role.VIEWER,
    ("get", "/v1/models"): Role.VIEWER,
    ("post", "/v1/chat/completions"): Role.VIEWER,
    ("get", "/adapters"): Role.VIEWER,
    ("post", "/adapters"): Role.TRAINER,
    ("get", "/adapters/{adapter_id}"): Role.VIEWER,
    ("get", "/adapters/{adapter_id}/export"): Role.VIEWER,
    ("get", "/datasets"): Role.VIEWER,
    ("post", "/datasets"): Role.TRAINER,
    ("get", "/composition/federations"): Role.VIEWER,
    ("post", "/composition/federations"): Role.TRAINER,
    ("get", "/training/jobs"): Role.VIEWER,
    ("post", "/training/jobs"): Role.TRAINER,
    ("get", "/training/jobs/{job_id}"): Role.VIEWER,
    ("delete", "/training/jobs/{job_id}"): Role.TRAINER,
    ("get", "/training/jobs/{job_id}/points"): Role.VIEWER,
    ("post", "/datasets/raw"): Role.TRAINER,
    ("get", "/mappings"): Role.VIEWER,
    ("post", "/mappings"): Role.TRAINER,
    ("post", "/mappings/suggest"): Role.TRAINER,
    ("get", "/mappings/{mapping_id}"): Role.VIEWER,
    ("get", "/mappings/{mapping_id}/versions/{version}"): Role.VIEWER,
    ("post", "/mappings/{mapping_id}/activate"): Role.TRAINER,
    ("post", "/harmonize"): Role.TRAINER,
    ("get", "/harmonize/jobs/{job_id}"): Role.VIEWER,
    ("get", "/harmonize/runs"): Role.VIEWER,
    ("get", "/harmonize/runs/{run_id}/download"): Role.VIEWER,
    ("post", "/tenants/register"): Role.ADMIN,
    ("get", "/composition/federations/{name}"): Role.VIEWER,
    ("get", "/composition/federations/{name}/versions"): Role.VIEWER,
    ("get", "/composition/federations/{name}/diff"): Role.VIEWER,
    ("post", "/composition/federations/{name}/rollback"): Role.TRAINER,
    ("post", "/composition/swap"): Role.TRAINER,
    ("get", "/composition/swaps"): Role.VIEWER,
    ("get", "/composition/stats"): Role.VIEWER,
    ("post", "/composition/prefetch"): Role.TRAINER,
    ("post", "/composition/compose"): Role.TRAINER,
    ("get", "/composition/compose/{preparation_id}"): Role.VIEWER,
    ("delete", "/composition/compose/{preparation_id}"): Role.TRAINER,
    ("get", "/ab-testing/experiments"): Role.VIEWER,
    ("post", "/ab-testing/experiments"): Role.TRAINER,
    ("get", "/ab-testing/experiments/{experiment_id}"): Role.VIEWER,
    ("put", "/ab-testing/experiments/{experiment_id}"): Role.TRAINER,
    ("delete", "/ab-testing/experiments/{experiment_id}"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/start"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/pause"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/resume"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/stop"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/ramp"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/promote"): Role.TRAINER,
    ("post", "/ab-testing/experiments/{experiment_id}/rollback"): Role.TRAINER,
    ("get", "/ab-testing/experiments/{experiment_id}/results"): Role.VIEWER,
    ("post", "/ab-testing/assign"): Role.VIEWER,
    ("post", "/ab-testing/impressions"): Role.REVIEWER,
    ("post", "/ab-testing/advice"): Role.VIEWER,
    ("post", "/ab-testing/offline"): Role.TRAINER,
    ("post", "/feedback/preference-pair"): Role.REVIEWER,
    ("get", "/feedback/stats"): Role.VIEWER,
    ("get", "/feedback/export-dpo"): Role.VIEWER,
    ("get", "/analytics/adapters/{adapter_id}"): Role.VIEWER,
    ("get", "/analytics/top-performers"): Role.VIEWER,
    ("get", "/analytics/comparison"): Role.VIEWER,
    ("get", "/analytics/totals"): Role.VIEWER,
    ("get", "/analytics/series"): Role.VIEWER,
    ("get", "/analytics/errors"): Role.VIEWER,
    ("get", "/analytics/requests"): Role.VIEWER,
    ("post", "/analytics/record"): Role.REVIEWER,
    ("post", "/analytics/feedback"): Role.REVIEWER,
    ("get", "/alerts"): Role.VIEWER,
    ("post", "/alerts/{alert_id}/acknowledge"): Role.REVIEWER,
    ("post", "/alerts/{alert_id}/resolve"): Role.REVIEWER,
    ("get", "/alerts/rules"): Role.VIEWER,
    ("put", "/alerts/rules"): Role.ADMIN,
    ("put", "/alerts/webhook"): Role.ADMIN,
    ("get", "/alerts/deliveries"): Role.ADMIN,
    ("get", "/health/system"): Role.VIEWER,
    ("get", "/tenants/me/limits"): Role.VIEWER,
    ("get", "/tenants/me/usage"): Role.VIEWER,
    ("get", "/tenants/{tenant_id}/limits"): Role.ADMIN,
    ("put", "/tenants/{tenant_id}/limits"): Role.ADMIN,
}
# Not for any role of a workspace, but for whoever runs the installation.
OPERATORS = {("get", "/metrics"), ("put", "/tenants/{tenant_id}/limits")}


def training_body(dataset: str) -> dict[str, Any]:
    choices = {"epochs": 1, "rank": 2, "max_length": 64}
    return {"name": "gamma", "adapter_type": "task", "dataset": dataset, "choices": choices}


def terms(adapter: str) -> dict[str, Any]:
    return {"terms": [{"adapter": adapter}]}


def trial(model: str) -> dict[str, Any]:
    """An experiment of the base against a model."""
    return {
        "name": "stolen",
        "variants": [{"variant_id": "now", "model": "base"}, {"variant_id": "new", "model": model}],
    }


# Where a body may name a thing: route → function from the name to what is sent.
NAMED_IN_BODY: dict[tuple[str, str], list[Callable[[str], dict[str, Any]]]] = {
    ("post", "/inference"): [
        lambda name: {"model": name, "messages": SAY, "max_new_tokens": 1},
        lambda name: {"composition": terms(name), "messages": SAY, "max_new_tokens": 1},
    ],
    ("post", "/v1/chat/completions"): [
        lambda name: {"model": name, "messages": SAY, "max_tokens": 1},
        lambda name: {"model": name, "messages": SAY, "max_tokens": 1, "stream": True},
    ],
    ("post", "/composition/federations"): [lambda name: {"name": "stolen", "spec": terms(name)}],
    ("post", "/composition/swap"): [
        lambda name: {"name": name, "to_version": 2},
        lambda name: {"old_adapter_id": name, "new_adapter_id": name},
    ],
    ("post", "/composition/prefetch"): [lambda name: {"model": name}],
    ("post", "/composition/compose"): [lambda name: {"model": name}],
    ("post", "/training/jobs"): [training_body],
    ("post", "/ab-testing/experiments"): [trial],
    ("post", "/ab-testing/assign"): [lambda name: {"experiment_id": name, "user_id": "ann"}],
    ("post", "/ab-testing/impressions"): [
        lambda name: {"experiment_id": name, "variant_id": "new", "success": True}
    ],
    ("post", "/ab-testing/offline"): [
        lambda name: {
            "control": trial(name)["variants"][0],
            "treatment": trial(name)["variants"][1],
            "prompts": [{"messages": SAY, "expected": "x"}],
            "max_new_tokens": 1,
        }
    ],
    ("post", "/analytics/feedback"): [
        lambda name: {"adapter_id": name, "thumbs": "up"},
        lambda name: {"request_id": name, "thumbs": "up"},
    ],
    ("post", "/mappings/suggest"): [lambda name: {"dataset": name}],
    ("post", "/harmonize"): [
        lambda name: {"dataset": name, "mapping": "mapped"},
        lambda name: {"dataset": "export", "mapping": name},
    ],
}
# What a route with a name in its path needs besides.
BESIDES: dict[tuple[str, str], dict[str, Any]] = {
    ("put", "/ab-testing/experiments/{experiment_id}"): {"json": trial("base")},
    ("post", "/ab-testing/experiments/{experiment_id}/ramp"): {"json": {"share": 1.0}},
    ("post", "/composition/federations/{name}/rollback"): {"json": {}},
    ("get", "/composition/federations/{name}/diff"): {"params": {"older": 1, "newer": 2}},
}
LISTS = {
    "/adapters",
    "/datasets",
    "/composition/federations",
    "/training/jobs",
    "/mappings",
    "/harmonize/runs",
}
NAMES_NOTHING = LISTS | {
    "/health",
    "/ready",
    "/metrics",
    "/v1/models",
    "/tenants/register",
    "/tenants/me/limits",
    "/tenants/me/usage",
    "/alerts",
    "/alerts/rules",
    "/alerts/webhook",
    "/alerts/deliveries",
    "/health/system",
    "/datasets/raw",
    "/composition/swaps",
    "/composition/stats",
    "/ab-testing/experiments",
    "/ab-testing/advice",
    "/feedback/preference-pair",
    "/feedback/stats",
    "/feedback/export-dpo",
    "/analytics/top-performers",
    "/analytics/comparison",
    "/analytics/totals",
    "/analytics/series",
    "/analytics/errors",
    "/analytics/requests",
    "/analytics/record",
}


def filled(path: str, thing: str) -> str:
    """The path with the thing in its first variable part, and 1 in the others."""
    return re.sub(r"\{\w+\}", "1", re.sub(r"\{\w+\}", thing, path, count=1))


def operations(api: TestClient) -> Iterator[tuple[str, str]]:
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        yield from ((method, path) for method in methods)


def rows_of(console: Console, tenant_id: str) -> dict[str, list[Any]]:
    """Every row of a workspace, but for the moments at which its keys were last used."""
    console.recorder.write()
    connection = sqlite3.connect(console.settings.home / "rmn.sqlite")
    connection.row_factory = sqlite3.Row
    found = {}
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        if "tenant_id" in columns:
            rows = connection.execute(f"SELECT * FROM {name} WHERE tenant_id = ?", (tenant_id,))
            found[name] = [{k: v for k, v in dict(row).items() if k != "last_used_at"} for row in rows]
    connection.close()
    return found


def anonymous(text: str, *words: str) -> str:
    """A told error, without the names in it and without its request id."""
    for word in words:
        text = text.replace(word, "·")
    told = json.loads(text)["error"]
    told.pop("request_id")
    return json.dumps(told)


def test_row_01_no_address_of_the_console_answers_a_stranger(console: Console) -> None:
    before, Runtime._instance = Runtime._instance, None  # Streamlit makes one per process
    client = TestClient(build_app(console), base_url="http://127.0.0.1", follow_redirects=False)
    streamlits_own = [
        "/",
        "/index.html",
        "/overview",
        "/static/js/index.js",
        "/media/x.png",
        "/component/a/b.js",
        "/app/static/x",
        "/_stcore/host-config",
        "/_stcore/allowed-message-origins",
        "/_stcore/metrics",
        "/_stcore/upload_file/a/b",
        "/_stcore/stream",
        "/_stcore/bidi-components/x",
        "/script-health-check",
        "/%2e%2e/rmn.sqlite",
        "//sign-in",
        "/sign-in/../overview",
        "/sign-in/other",
        "/api/adapters",
        "/api/../overview",
    ]
    try:
        for path in streamlits_own:
            for accept in ("*/*", "text/html"):
                answer = client.get(path, headers={"accept": accept})
                assert answer.status_code in (303, 401), (path, answer.status_code)
        assert client.put("/_stcore/upload_file/a/b", content=b"x").status_code == 403
        assert client.get("/sign-in").status_code == 200
    finally:
        shared_console.set(None)
        Runtime._instance = before


def test_row_01_every_operation_of_the_api_is_in_the_matrices_below(api: TestClient) -> None:
    known = set(operations(api))
    assert known == set(LEAST_ROLE) | OPERATORS
    unnamed = {op for op in known if "{" not in op[1] and op not in NAMED_IN_BODY}
    assert {path for _, path in unnamed} <= NAMES_NOTHING


def test_row_02_another_tenant_is_invisible(
    api: TestClient, console: Console, ours: Workspace, theirs: Workspace
) -> None:
    before = rows_of(console, ours.tenant_id)
    asked = 0

    def refused(method: str, path: str, thing: str, **more: Any) -> str:
        answer = api.request(method, path, headers=theirs.headers(), **more)
        assert answer.status_code == 404, (method, path, thing, answer.text)
        return anonymous(answer.text, thing)

    for method, path in operations(api):
        if "{" in path and (method, path) not in OPERATORS:
            more = BESIDES.get((method, path), {})
            nobodys = refused(method, filled(path, "nobody"), "nobody", **more)
            for thing in [*ours.things.values(), ours.tenant_id]:
                assert refused(method, filled(path, thing), thing, **more) == nobodys
                asked += 1
    for (method, path), bodies in NAMED_IN_BODY.items():
        for body in bodies:
            nobodys = refused(method, path, "nobody", json=body("nobody"))
            for thing in [*ours.things.values(), f"{ours.slug}/alpha"]:
                assert refused(method, path, thing, json=body(thing)) == nobodys
                asked += 1
    assert asked >= 80
    assert rows_of(console, ours.tenant_id) == before


def test_row_02_no_workspace_sets_limits_of_another_or_of_itself(
    api: TestClient, console: Console, ours: Workspace, theirs: Workspace
) -> None:
    before = rows_of(console, ours.tenant_id)
    answers = [
        api.put(f"/tenants/{tenant_id}/limits", json={"weight": 9}, headers=theirs.headers())
        for tenant_id in (ours.tenant_id, theirs.tenant_id, "nobody")
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert len({anonymous(answer.text) for answer in answers}) == 1
    assert rows_of(console, ours.tenant_id) == before
    assert api.get("/metrics", headers=theirs.headers()).status_code == 403


def test_row_02_lists_and_exports_hold_ones_own_things_alone(
    api: TestClient, ours: Workspace, theirs: Workspace
) -> None:
    for path in LISTS:
        own = api.get(path, headers=theirs.headers()).json()["items"]
        assert own
        assert {each["id"] for each in own} <= set(theirs.things.values())
        filters = {"include_archived": "true", "limit": "1000", "tenant_id": ours.tenant_id}
        assert api.get(path, headers=theirs.headers(), params=filters).json()["items"] == own
    models = api.get("/v1/models", headers=theirs.headers())
    assert {model["id"] for model in models.json()["data"]} >= {"alpha", "pair"}
    texts = [models.text] + [api.get(path, headers=theirs.headers()).text for path in sorted(LISTS)]
    packages = {}
    for who in (ours, theirs):
        place = f"/adapters/{who.things['adapter']}"
        texts.append(api.get(place, headers=who.headers()).text if who is theirs else "")
        packages[who.tenant_id] = api.get(f"{place}/export", headers=who.headers()).content
    assert packages[ours.tenant_id] != packages[theirs.tenant_id]
    for thing in ours.things.values():
        assert not any(thing in text for text in texts)
        assert thing.encode() not in packages[theirs.tenant_id]


def test_row_02_a_dataset_with_the_same_content_belongs_to_each_alone(
    api: TestClient, ours: Workspace, theirs: Workspace
) -> None:
    content = EXAMPLE * 25
    ids = []
    for who in (ours, theirs):
        made = api.post("/datasets", headers=who.headers(), files={"file": content}, data={"name": "shared"})
        assert made.status_code == 201, made.text
        ids.append(made.json()["id"])
    assert ids[0] != ids[1]
    stolen = api.post("/training/jobs", json=training_body(ids[0]), headers=theirs.headers())
    assert stolen.status_code == 404


def test_row_03_the_same_name_in_two_workspaces_never_gives_the_others_answer(
    api: TestClient, ours: Workspace, theirs: Workspace
) -> None:
    def ask(who: Workspace, model: str, number: int) -> tuple[str, str]:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"say {number}"}],
            "max_new_tokens": 8,
        }
        answer = api.post("/inference", json=body, headers=who.headers(Role.VIEWER))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert [used["id"] for used in told["adapters"]] == [who.things["adapter"]]
        return told["text"], told["composition_key"]

    asked = [(who, model, n) for n in range(6) for who in (ours, theirs) for model in ("alpha", "pair")]
    alone = [ask(*each) for each in asked]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: ask(*each), asked * 3))
    assert together == alone * 3
    keys = {
        who.tenant_id: {key for (w, *_), (_, key) in zip(asked, alone, strict=True) if w is who}
        for who in (ours, theirs)
    }
    assert not keys[ours.tenant_id] & keys[theirs.tenant_id]
    assert {text for text, _ in alone[0::4]} != {text for text, _ in alone[2::4]}


def test_row_04_a_forged_tenant_header_changes_nothing(
    api: TestClient, ours: Workspace, theirs: Workspace
) -> None:
    forgeries = {
        "x-tenant-id": ours.tenant_id,
        "x-tenant": ours.slug,
        "x-forwarded-user": "admin@x",
        "remote-user": "admin",
        "x-user-id": ours.users[Role.ADMIN],
        "x-role": "admin",
    }
    for name, value in forgeries.items():
        forged = {**theirs.headers(Role.VIEWER), name: value}
        (seen,) = api.get("/adapters", headers=forged).json()["items"]
        assert seen["id"] == theirs.things["adapter"]
        place = f"/adapters/{ours.things['adapter']}"
        assert api.get(place, headers=forged).status_code == 404
        assert api.get(place, headers={name: value}).status_code == 401
        assert api.delete(f"/training/jobs/{theirs.things['job']}", headers=forged).status_code == 403
    in_body = {"model": "alpha", "messages": SAY, "max_new_tokens": 1, "tenant_id": ours.tenant_id}
    assert api.post("/inference", json=in_body, headers=theirs.headers()).status_code == 422


def test_row_05_a_request_id_that_many_clients_share_is_nobodys(api: TestClient, ours: Workspace) -> None:
    headers = {**ours.headers(), "x-request-id": "req_same", "idempotency-key": "same"}

    def ask(number: int) -> tuple[str, str, str]:
        body = {
            "model": "alpha",
            "messages": [{"role": "user", "content": f"say {number}"}],
            "max_new_tokens": 4,
        }
        answer = api.post("/inference", json=body, headers=headers)
        return answer.headers["x-request-id"], answer.json()["request_id"], answer.json()["text"]

    alone = [ask(number)[2] for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(ask, [*range(8)] * 2))
    assert [text for *_, text in seen] == alone * 2
    ids = [each for pair in seen for each in pair[:2]]
    assert "req_same" not in ids
    assert len({first for first, *_ in seen}) == len({second for _, second, _ in seen}) == 16


def test_row_09_the_api_decides_by_role_on_every_route(api: TestClient, ours: Workspace) -> None:
    order = list(Role)
    for method, path in operations(api):
        if (method, path) == ("get", "/metrics"):
            continue
        least = LEAST_ROLE[method, path]
        place = filled(path, "none")
        for role in Role:
            answer = api.request(method, place, headers=ours.headers(role))
            allowed = least is None or order.index(role) >= order.index(least)
            assert (answer.status_code == 403) is not allowed, (method, path, role, answer.text)
            assert answer.status_code != 401


def test_row_09_a_role_that_was_taken_away_counts_for_nothing_from_the_next_request(
    api: TestClient, console: Console, ours: Workspace
) -> None:
    from app.actions import people
    from core.errors import PermissionDeniedError

    people.revoke_key(console, ours.principal(), ours.key_ids[Role.TRAINER])
    assert api.get("/adapters", headers=ours.headers(Role.TRAINER)).status_code == 401
    for attempt in (
        lambda: people.change_role(
            console, ours.principal(Role.TRAINER), ours.users[Role.TRAINER], Role.ADMIN
        ),
        lambda: people.create_key(console, ours.principal(Role.TRAINER), name="mine", role=Role.ADMIN),
        lambda: people.make_sign_in_link(console, ours.principal(Role.REVIEWER), ours.users[Role.ADMIN]),
        lambda: people.set_password(console, ours.principal(Role.TRAINER), ours.users[Role.ADMIN], "x" * 20),
        lambda: people.list_users(console, ours.principal(Role.TRAINER)),
    ):
        with pytest.raises(PermissionDeniedError):
            attempt()
