"""Rows 15 to 18, 20 and 23 for retailers' raw exports: bombs, quotas, hostile names, and people's identifiers."""

import gzip
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from core.tenants.records import Role
from tests.security.conftest import harmonize_now

Workspace = Any


def upload(api: TestClient, who: Workspace, content: bytes, name: str = "hostile", **form: str) -> Any:
    return api.post(
        "/datasets/raw", headers=who.headers(), files={"file": content}, data={"name": name, **form}
    )


def files_of(console: Console) -> set[Path]:
    return set(console.settings.datasets_dir.iterdir())


def workbook_bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b"<row/>" * 30_000_000)
    return content.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "workbook": workbook_bomb,
    "nested json": lambda: b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    "zip of another kind": lambda: b"PK\x03\x04" + bytes(1000),
    "pickle": lambda: b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
    "gzip in gzip": lambda: gzip.compress(gzip.compress(b"a,b\n1,2\n" * 100)),
    "nothing but NUL": lambda: bytes(100_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_row_15_and_16_a_bomb_is_refused_quickly_and_leaves_nothing(
    api: TestClient, console: Console, ours: Workspace, kind: str
) -> None:
    content = BOMBS[kind]()
    before, began = files_of(console), time.process_time()
    answer = upload(api, ours, content)
    assert answer.status_code == 422 or (answer.status_code == 201 and answer.json()["rows"] <= 1), (
        answer.text
    )
    assert time.process_time() - began < 20
    left = files_of(console) - before
    assert len(left) == (answer.status_code == 201)
    assert not [path for path in left if path.name.startswith(".")]


def test_row_16_broken_lines_in_the_middle_are_named_and_the_rest_is_kept(
    api: TestClient, ours: Workspace
) -> None:
    lines = [
        b'{"day": "2026-03-01", "clicks": 1}',
        b'{"day": "2026-03-02", "clicks": NaN',
        b"\xff\xfe",
        b"[]",
    ]
    answer = upload(api, ours, b"\n".join([*lines, b'{"day": "2026-03-03", "clicks": 18014398509481985}\n']))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["rows"], answer.json()["broken_rows"]) == (2, 3)


def test_row_17_one_tenant_cannot_fill_the_disk_and_does_not_take_anothers_room(
    api: TestClient, console: Console, ours: Workspace, theirs: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = b"day,clicks\n" + b"2026-03-01,5\n" * 60_000  # 780 KB
    tight = console.settings.model_copy(update={"upload_quota_mb": 2})
    monkeypatch.setitem(console.__dict__, "settings", tight)
    answers = [upload(api, ours, rows + b"2026-03-02,%d\n" % n, f"n{n}").status_code for n in range(4)]
    assert answers == [201, 201, 413, 413]
    before = files_of(console)
    assert upload(api, ours, rows + b"2026-03-09,9\n").status_code == 413
    assert files_of(console) == before
    assert upload(api, theirs, rows + b"2026-03-05,1\n").status_code == 201


@pytest.mark.parametrize(
    "column",
    [
        "'; DROP TABLE datasets; --",
        '"x"',
        "=cmd|' /C calc'!A0",
        "<script>alert(1)</script>",
        "a\u202eb",
        "𝒳" * 200,
    ],
)
def test_row_18_and_20_a_hostile_column_name_is_only_a_name(
    api: TestClient, console: Console, ours: Workspace, column: str
) -> None:
    quoted = '"' + column.replace('"', '""') + '"'
    answer = upload(api, ours, f"day,{quoted}\n2026-03-01,5\n2026-03-02,7\n".encode())
    assert answer.status_code == 201, answer.text
    assert answer.json()["columns"] == ["day", column]
    found = api.post("/mappings/suggest", headers=ours.headers(), json={"dataset": answer.json()["id"]})
    assert [each["source_field"] for each in found.json()["items"]] == ["day", column]
    rules = [{"source_field": column, "target": "clicks"}, {"source_field": "day", "target": "date_local"}]
    body = {"name": "hostile", "mapping": {"rules": rules}}
    saved = api.post("/mappings", headers=ours.headers(), json=body)
    assert saved.status_code == 201, saved.text
    body = {"dataset": answer.json()["id"], "mapping": saved.json()["id"], "format": "csv"}
    job = api.post("/harmonize", headers=ours.headers(), json=body).json()
    harmonize_now(console, job["id"])
    run = api.get("/harmonize/runs", headers=ours.headers()).json()["items"][0]
    assert (run["job_id"], run["rows_out"]) == (job["id"], 2)
    assert api.get("/datasets", headers=ours.headers()).status_code == 200


def test_row_23_what_is_pseudonymized_is_nowhere_in_what_was_made(
    api: TestClient, console: Console, ours: Workspace
) -> None:
    secrets = [f"shopper-{n:05d}@mail.example" for n in range(40)]
    lines = [f"2026-03-01,{secret},{'x' if n % 7 == 0 else n}" for n, secret in enumerate(secrets)]
    content = "\n".join(["day,user,clicks", *lines, lines[0], f"2026-03-01,{secrets[1]}"]) + "\n"
    dataset = upload(api, ours, content.encode()).json()
    rules = [
        {"source_field": "day", "target": "date_local"},
        {"source_field": "user", "target": "user_id", "transform": {"op": "pseudonymize", "key": "users"}},
        {"source_field": "clicks", "target": "clicks"},
    ]
    api.post("/mappings", headers=ours.headers(), json={"name": "private", "mapping": {"rules": rules}})
    body = {"dataset": dataset["id"], "mapping": "private", "format": "csv"}
    job = api.post("/harmonize", headers=ours.headers(), json=body).json()
    harmonize_now(console, job["id"])
    run = api.get("/harmonize/runs", headers=ours.headers()).json()["items"][0]
    assert run["job_id"] == job["id"]
    folder = console.settings.harmonized_dir / job["id"]
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert made.keys() >= {"rows.csv", "rows.rejected.csv", "rows.broken.csv"}
    told = json.dumps(run) + api.get(f"/harmonize/jobs/{job['id']}", headers=ours.headers(Role.VIEWER)).text
    for secret in secrets:
        name = secret.partition("@")[0].encode()
        assert not [file for file, held in made.items() if name in held], secret
        assert name.decode() not in told
    with (console.settings.home / "rmn.sqlite").open("rb") as database:
        held = database.read()
    assert b"shopper-" not in held
    key = (console.settings.home / "pseudonym.key").read_bytes()
    assert key not in held
    assert not [file for file, content in made.items() if key in content or key.hex().encode() in content]
