"""Rows 6, 37 and 40 with a real process: it is told to stop while it answers, its log is read, its database is old."""

import hashlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.bootstrap import build_console
from app.worker import child_environment, run_worker
from core.errors import RmnError
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.tenants.records import Role
from tests.core.training.tiny_base import make_tiny_base

START_S, STOP_S = 180.0, 60.0
SAY = [{"role": "user", "content": "hello"}]


class Server:
    """`python -m app api` on a port of its own."""

    def __init__(self, settings: Settings, key: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"authorization": f"Bearer {key}"}
        self.log = settings.home / "api.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "api", "--port", str(self.port)],
                stdout=log, stderr=log, cwd=PROJECT_ROOT, env=child_environment(settings),
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)


@pytest.fixture
def server(
    settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Server, Settings, str]]:
    base = make_tiny_base(tmp_path / "models")
    told = {"base_model": str(base), "log_json": True, "log_level": "debug", **getattr(request, "param", {})}
    chosen = settings.model_copy(update=told)
    database = Database(chosen.resolved_database_url)
    now = datetime.now(UTC)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha Stores", now=now)
        key = tenants.create_api_key(s, tenant.id, name="k", role=Role.ADMIN, created_by="t", now=now).secret
    database.close()
    running = Server(chosen, key)
    try:
        running.wait_until_ready()
        yield running, chosen, key
    finally:
        running.process.kill()
        running.process.wait()


def test_row_37_a_process_that_is_told_to_stop_finishes_what_it_answers_and_takes_nothing_new(
    server: tuple[Server, Settings, str],
) -> None:
    running, settings, key = server
    told: list[float] = []
    # Row 6 on the way: wherever a client puts its key, it stands in no file and no line of the log.
    for path in (f"/adapters?api_key={key}", f"/adapters/{key}", f"/{key}", f"/adapters/x?token={key}"):
        httpx.get(running.url + path, headers={**running.headers, "x-request-id": key, "user-agent": key})
    httpx.post(f"{running.url}/inference", headers=running.headers, json={"model": key, "messages": []})

    def stream(number: int) -> tuple[str, bool]:
        said = [{"role": "user", "content": f"say {number}"}]
        body = {"model": "base", "messages": said, "max_tokens": 100, "stream": True, "temperature": 1.5}
        text = ""
        with (
            httpx.Client(timeout=60) as client,
            client.stream(
                "POST", f"{running.url}/v1/chat/completions", json=body, headers=running.headers
            ) as answer,
        ):
            if answer.status_code == 503:  # who came after the pause: refused before anything was sent
                assert answer.headers["retry-after"]
                return "", True
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if number == 0 and not text:
                    told.append(time.monotonic())
                    running.process.send_signal(signal.SIGTERM)
                text += line + "\n"
        return text, text.rstrip().endswith("data: [DONE]")

    not_ready_at = refused_at = None
    with ThreadPoolExecutor(24) as pool:
        others = [pool.submit(stream, number) for number in range(1, 24)]
        time.sleep(0.05)
        first = pool.submit(stream, 0)
        deadline = time.monotonic() + STOP_S
        while running.process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(f"{running.url}/ready", timeout=5).status_code == 503:
                    not_ready_at = not_ready_at or time.monotonic()
            except httpx.TransportError:
                refused_at = refused_at or time.monotonic()
            time.sleep(0.02)
        ended = time.monotonic()
        streams = [each.result() for each in (first, *others) if each.exception() is None]
        failed = [each.exception() for each in others if each.exception() is not None]
    assert running.process.returncode in (0, -signal.SIGTERM), running.log.read_text()[-3000:]
    # Readiness goes off while everything is still answered; only then the port closes.
    assert not_ready_at is not None
    assert refused_at is not None
    assert not_ready_at < refused_at <= ended
    assert told[0] + 0.5 * settings.drain_seconds < refused_at
    assert len(streams) >= 1
    assert [done for _, done in streams] == [True] * len(streams)
    assert not any('"error"' in text for text, _ in streams)
    # Who came too late was not connected at all: nobody was cut off in the middle.
    assert all(isinstance(error, httpx.ConnectError) for error in failed), failed
    log = running.log.read_text()
    assert "Traceback" not in log
    assert sum("api.request" in line for line in log.splitlines()) >= 5
    assert key not in log
    assert re.search(r"rmn_[\w-]{20}", log) is None
    for file in settings.home.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("server", "signals"),
    [({"finish_seconds": 0.5, "max_batch_rows": 1, "drain_seconds": 0.2}, 1), ({"max_batch_rows": 1}, 2)],
    indirect=["server"],
    ids=["the time to finish is over", "a second SIGTERM"],
)
def test_row_37_answers_that_may_not_finish_end_cleanly_with_what_is_there(
    server: tuple[Server, Settings, str], signals: int
) -> None:
    running, _, _ = server
    began = threading.Event()

    def ask(number: int) -> tuple[int, str]:
        body = {"model": "base", "max_tokens": 100, "stream": True, "temperature": 1.5, "seed": number}
        body["messages"] = [{"role": "user", "content": f"say {number}"}]
        url, text = f"{running.url}/v1/chat/completions", ""
        with httpx.stream("POST", url, json=body, headers=running.headers, timeout=60) as answer:
            for line in answer.iter_lines():
                began.set()
                text += line + "\n"
        return answer.status_code, text

    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(ask, number) for number in range(100)]
        assert began.wait(60)
        told_at = time.monotonic()
        for _ in range(signals):
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        if signals == 1:
            time.sleep(0.1)  # the pause is over: the port is open, and nobody new is let in
            with suppress(httpx.TransportError):
                late = httpx.post(f"{running.url}/inference", json={"messages": SAY}, headers=running.headers)
                assert late.status_code == 503
                assert late.headers["retry-after"]
        answers = [each.result() for each in asked if each.exception() is None]
        failed = [each.exception() for each in asked if each.exception() is not None]
        running.process.wait(STOP_S)
    seconds = time.monotonic() - told_at
    assert running.process.returncode in (0, -signal.SIGTERM), running.log.read_text()[-3000:]
    assert seconds < STOP_S
    whole = [text for status, text in answers if status == 200]
    refused = [text for status, text in answers if status == 503]
    assert whole
    assert refused, f"all {len(whole)} were answered before the time was over"
    assert len(whole) + len(refused) == len(answers)
    # Nobody was cut off in the middle of an answer: it has an end that clients know, or it was never begun.
    assert all(text.rstrip().endswith("data: [DONE]") or '"error"' in text for text in whole)
    assert all(isinstance(error, httpx.ConnectError | httpx.ReadError) for error in failed), failed
    assert "Traceback" not in running.log.read_text()


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("state", ["empty", "older", "newer", "damaged"])
def test_row_40_a_database_of_another_version_is_refused_and_left_as_it_is(
    settings: Settings, state: str
) -> None:
    path = settings.home / "rmn.sqlite"
    if state == "damaged":
        path.write_bytes(b"SQLite format 3\x00" + os.urandom(4096))
    else:
        path.unlink() if state == "empty" else None
        connection = sqlite3.connect(path)
        if state == "empty":
            connection.execute("CREATE TABLE other (x)")
        else:
            revision = {"older": "0000_before", "newer": "9999_after"}[state]
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
        connection.close()
    before = digest_of(path)
    starts: list[Callable[[], object]] = [lambda: build_console(settings), lambda: run_worker(settings)]
    for start in starts:
        with pytest.raises(RmnError) as refused:
            start()
        assert refused.value.next_step
        assert str(settings.home) not in refused.value.what
    assert digest_of(path) == before


def test_row_40_an_upgrade_keeps_a_copy_that_can_be_put_back(settings: Settings) -> None:
    path = settings.home / "rmn.sqlite"
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.execute("INSERT INTO notes VALUES ('kept')")
    connection.commit()
    connection.close()
    upgrade(settings.resolved_database_url)
    (copy,) = settings.home.glob("*.bak")
    shutil.copy(copy, settings.home / "back.sqlite")
    connection = sqlite3.connect(settings.home / "back.sqlite")
    assert connection.execute("SELECT text FROM notes").fetchall() == [("kept",)]
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    build_console(settings).close()
