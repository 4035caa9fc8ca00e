"""Rows 19, 20, 23, 25, 28 and 29: text that wants to be code, and answers that must not tell too much."""

import ast
import json
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console
from app.logs import hide_secrets
from app.worker import training_command
from core.jobs import service as jobs
from core.settings import PROJECT_ROOT
from core.tenants import audit
from tests.security.conftest import EXAMPLES, make_workspace

Workspace = Any
INJECTIONS = [
    "' OR '1'='1",
    "alpha' --",
    "alpha'; DROP TABLE adapters; --",
    '" OR ""="',
    "alpha\\' OR 1=1 #",
    "%",
    "_____",
    "al%",
    "alph_",
    "ALPHA",
    "alpha ",
    "alpha\x00",
    "alpha' UNION SELECT * FROM api_keys --",
    "1) OR (1=1",
    "[a-z]*",
    "*",
    "alpha@1' OR '1'='1",
    "alpha v1 OR 1=1",
    "${alpha}",
    "{{alpha}}",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
]
COMMANDS = [
    "x; touch /tmp/rmn-owned",
    "$(touch /tmp/rmn-owned)",
    "`touch /tmp/rmn-owned`",
    "x && touch /tmp/rmn-owned",
    "x | touch /tmp/rmn-owned",
    "x\ntouch /tmp/rmn-owned",
    "--help",
    "-rf /",
    "../../../../tmp/rmn-owned",
    "/tmp/rmn-owned",
    "%2e%2e%2f",
    "a\x00b",
    "name\n",
    "x' 'y",
    "~",
    "$HOME",
]


def ask(api: TestClient, who: Workspace, **body: Any) -> Any:
    asked = {"messages": [{"role": "user", "content": "say 1"}], "max_new_tokens": 1, **body}
    return api.post("/inference", json=asked, headers=who.headers())


def test_row_20_names_are_values_and_never_part_of_a_statement(
    api: TestClient, console: Console, ours: Workspace, theirs: Workspace
) -> None:
    paths = ("/adapters", "/datasets", "/training/jobs")
    usual = {path: len(api.get(path, headers=ours.headers()).json()["items"]) for path in paths}
    for text in INJECTIONS:
        assert ask(api, ours, model=text).status_code in (404, 422), text
        assert ask(api, ours, composition={"terms": [{"adapter": text}]}).status_code in (404, 422), text
        body = {"name": "x", "adapter_type": "task", "dataset": text}
        assert api.post("/training/jobs", json=body, headers=ours.headers()).status_code in (404, 422), text
        for path in paths:
            for name in ("type", "kind", "state", "limit", "order", "sort", "filter"):
                answer = api.get(path, params={name: text}, headers=ours.headers())
                assert answer.status_code in (200, 422), (path, name, text, answer.text)
                if answer.status_code == 200:
                    assert len(answer.json()["items"]) == usual[path] > 0
    made = api.post(
        "/datasets",
        headers=ours.headers(),
        files={"file": EXAMPLES * 2},
        data={"name": "Robert'); DROP TABLE x;--"},
    )
    assert made.status_code == 201
    newest = api.get("/datasets", headers=ours.headers()).json()["items"][0]
    assert newest["name"] == "Robert'); DROP TABLE x;--"
    (kept,) = api.get("/adapters", headers=theirs.headers()).json()["items"]
    assert kept["id"] == theirs.things["adapter"]


def test_row_20_no_statement_is_put_together_from_text() -> None:
    """Only core/storage, which is given nothing from outside, may write SQL with a value in its text."""
    wrong: list[str] = []
    for path in [file for part in ("app", "core", "pages") for file in (PROJECT_ROOT / part).rglob("*.py")]:
        if path.is_relative_to(PROJECT_ROOT / "core" / "storage"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = ast.unparse(node.func).rpartition(".")[2]
                first = node.args[0]
                built = isinstance(first, ast.JoinedStr | ast.BinOp) or (
                    isinstance(first, ast.Call)
                    and ast.unparse(first.func).endswith(".format")
                    and not ast.unparse(first.func).startswith(
                        "sql.SQL("
                    )  # the driver quotes its identifiers
                )
                runs = name in ("text", "execute", "exec_driver_sql", "scalar", "scalars", "literal_column")
                on_screen = ast.unparse(node.func).startswith("st.")
                if built and runs and not on_screen:
                    wrong.append(f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}")
    assert wrong == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=120))
def test_row_20_any_text_is_a_name_that_is_found_or_not(api: TestClient, ours: Workspace, name: str) -> None:
    sent = json.dumps({"model": name, "messages": [{"role": "user", "content": "x"}], "max_new_tokens": 1})
    answer = api.post(
        "/inference", content=sent, headers={**ours.headers(), "content-type": "application/json"}
    )
    assert answer.status_code in ((200,) if name in ("alpha", "pair", "base") else (404, 422)), answer.text
    answer = api.get(
        "/adapters/" + "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "replace")),
        headers=ours.headers(),
    )
    assert answer.status_code in ((200, 404) if name == "" else (404,)), answer.text


def test_row_25_what_a_job_is_called_reaches_no_command_line(
    api: TestClient, console: Console, ours: Workspace
) -> None:
    for text in COMMANDS:
        body = {"name": text, "adapter_type": "task", "dataset": "numbers"}
        answer = api.post("/training/jobs", json=body, headers=ours.headers())
        assert answer.status_code == 422, (text, answer.text)
        for field in ("dataset", "preset"):
            answer = api.post(
                "/training/jobs", json=body | {"name": "x", field: text}, headers=ours.headers()
            )
            assert answer.status_code in (404, 422), (text, answer.text)
        more = body | {"name": "x", "choices": {"output_dir": text}}
        assert api.post("/training/jobs", json=more, headers=ours.headers()).status_code == 422
        with console.database.transaction() as s:
            # Even a job that came past the API: its text is no part of what is started, and names no folder.
            job = jobs.submit(
                s, ours.tenant_id, kind="train", name=text if text.strip() else "x", spec={"dataset_id": text},
                submitted_by=text, now=datetime.now(UTC),
            )  # fmt: skip
            jobs.request_cancel(s, ours.tenant_id, job.id, now=datetime.now(UTC))
        command = training_command(job)
        assert command[1:] == ["-m", "app.training_child", "--job", job.id, "--fence", job.fence]
        assert job.id.removeprefix("job_").isalnum()
    assert not Path("/tmp/rmn-owned").exists()


def test_row_19_hostile_text_comes_back_as_it_was_and_as_json(api: TestClient, ours: Workspace) -> None:
    evil = (
        "<img src=//evil.example/x onerror=alert(1)> ![x](https://evil.example/b.png) $\\input{/etc/passwd}$"
    )
    spec = {"terms": [{"adapter": "alpha"}]}
    body = {"name": "plain", "description": evil, "spec": spec}
    saved = api.post("/composition/federations", json=body, headers=ours.headers())
    assert saved.status_code == 201, saved.text
    for answer in (
        saved,
        ask(api, ours, model=evil),
        api.get("/composition/federations", headers=ours.headers()),
    ):
        assert answer.headers["content-type"] == "application/json"
    listed = api.get("/composition/federations", headers=ours.headers()).json()["items"]
    assert [f["description"] for f in listed if f["name"] == "plain"] == [evil]
    for name in ("<b>x</b>", "x\u202ey", "x\r\nset-cookie: a=b", "../x", "x\u0000"):
        assert (
            api.post(
                "/composition/federations", json=body | {"name": name}, headers=ours.headers()
            ).status_code
            == 422
        )
    exported = api.get(f"/adapters/{ours.things['adapter']}/export", headers=ours.headers())
    assert exported.headers["content-disposition"].startswith("attachment")


def test_row_23_what_people_ask_is_neither_logged_nor_in_the_audit(
    api: TestClient, console: Console, ours: Workspace, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    private = "jane.roe@mail.example, +44 20 7946 0958, card 4111 1111 1111 1111"
    with caplog.at_level(logging.DEBUG):
        said = [{"role": "user", "content": private}]
        assert api.post(
            "/inference", json={"messages": said, "max_new_tokens": 2}, headers=ours.headers()
        ).is_success
        chat = {"model": "alpha", "messages": said, "max_tokens": 2}
        assert api.post("/v1/chat/completions", json=chat, headers=ours.headers()).is_success
        assert (
            api.post("/inference", json={"messages": said, "top_p": 9}, headers=ours.headers()).status_code
            == 422
        )
        row = json.dumps({"prompt": private, "completion": 4}).encode()
        bad = api.post("/datasets", headers=ours.headers(), files={"file": row}, data={"name": "x"})
        assert bad.status_code == 422
    written = caplog.text + "".join(capsys.readouterr())
    with console.database.reading() as s:
        written += repr(audit.list_entries(s, ours.tenant_id))
    assert "adapter.imported" in written
    # Long enough not to turn up by chance in a digest.
    for part in ("jane.roe@mail", "7946 0958", "4111 1111"):
        assert part not in written
        assert part.encode() not in (console.settings.home / "rmn.sqlite").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "://" * 1333,
        "a:" * 2000,
        "token=" * 660,
        "rmn_" * 1000,
        "://" + ":" * 3990,
        "://" + "a:" * 1990,
        "@" * 4000,
    ],
    ids=lambda text: text[:8],
)
def test_row_28_no_text_makes_the_log_slow(text: str) -> None:
    began = time.process_time()
    for _ in range(5):
        hide_secrets(None, "info", {"event": text, "exception": text * 10})
    assert time.process_time() - began < 0.5


def test_row_28_no_name_makes_a_search_slow(api: TestClient, ours: Workspace) -> None:
    for text in (" v" * 100, "@1" * 100, "a v1" * 50, "x@" + "9" * 198, "." * 200, "a" * 100 + " v" * 50):
        began = time.process_time()
        assert ask(api, ours, model=text).status_code == 404
        assert api.get(f"/adapters/{text}", headers=ours.headers()).status_code == 404
        assert time.process_time() - began < 0.5, text


@pytest.fixture
def broken(
    console: Console, adapter_zip: Callable[..., bytes], tmp_path: Path, sqlite_template: Path
) -> Iterator[tuple[TestClient, Workspace, Console]]:
    """A console of its own, to be damaged, with a workspace in it."""
    home = tmp_path / "secret-place"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    own = build_console(console.settings.model_copy(update={"home": home}))
    sound = replace(own, engine=console.engine)
    # As in a running installation; structlog's own choice draws every variable of a traceback, which takes a minute.
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    with TestClient(build_api(sound), raise_server_exceptions=False) as api:
        yield api, make_workspace(sound, api, adapter_zip, "Gamma", 5), sound
    structlog.configure(**before)
    own.close()


def tells_nothing(answer: Any, console: Console, who: Workspace, *, status: int | None = None) -> None:
    assert answer.status_code >= 400
    assert status is None or answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told["request_id"] == answer.headers["x-request-id"]
    text = answer.text + repr(answer.headers)
    secrets = [
        *who.keys.values(),
        str(console.settings.home),
        "secret-place",
        str(PROJECT_ROOT),
        "site-packages",
    ]
    for secret in (*secrets, "Traceback", 'File "', "sqlite3", "SELECT", ".py", str(Path.home()) + "/"):
        assert secret not in text, (secret, text)


def test_row_29_a_database_that_breaks_tells_an_id_and_nothing_else(
    broken: tuple[TestClient, Workspace, Console],
) -> None:
    api, who, console = broken
    connection = sqlite3.connect(console.settings.home / "rmn.sqlite")
    connection.execute("ALTER TABLE adapters RENAME TO gone")
    connection.commit()
    connection.close()
    for path in (
        "/adapters",
        f"/adapters/{who.things['adapter']}",
        f"/adapters/{who.things['adapter']}/export",
    ):
        tells_nothing(api.get(path, headers=who.headers()), console, who, status=500)
    tells_nothing(ask(api, who, model="alpha"), console, who, status=500)
    assert api.get("/datasets", headers=who.headers()).status_code == 200


def test_row_29_files_that_are_gone_tell_no_path(broken: tuple[TestClient, Workspace, Console]) -> None:
    api, who, console = broken
    shutil.rmtree(console.settings.home / "datasets")
    shutil.rmtree(console.settings.home / "adapters")
    body = {"name": "x", "adapter_type": "task", "dataset": "numbers", "choices": {"max_length": 64}}
    tells_nothing(api.post("/training/jobs", json=body, headers=who.headers()), console, who, status=500)
    tells_nothing(api.get(f"/adapters/{who.things['adapter']}/export", headers=who.headers()), console, who)
    tells_nothing(ask(api, who, model="alpha"), console, who)
    (console.settings.home / "datasets").write_text("in the way")
    (console.settings.home / "adapters").write_text("in the way")
    sent = {"file": EXAMPLES}
    tells_nothing(api.post("/datasets", headers=who.headers(), files=sent, data={"name": "y"}), console, who)


def test_row_29_a_base_that_cannot_be_loaded_tells_no_path(
    broken: tuple[TestClient, Workspace, Console], tmp_path: Path
) -> None:
    _, who, sound = broken
    place = sound.settings.home / "base"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "llama"}')
    damaged = build_console(sound.settings.model_copy(update={"base_model": str(place)}))
    with TestClient(build_api(damaged), raise_server_exceptions=False) as api:
        tells_nothing(ask(api, who), damaged, who, status=503)
        answer = api.get("/v1/models", headers=who.headers())
        assert answer.status_code == 503
        assert "secret-place" not in answer.text
        assert "secret-place" not in api.get("/ready").text
        sent = {"file": ("a.zip", b"PK\x05\x06" + bytes(18))}
        tells_nothing(api.post("/adapters", headers=who.headers(), files=sent), damaged, who)
    damaged.close()
