"""Rows 32 and 33: power that fails between two steps of a write, and a disk that fills up in the middle of one."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.bootstrap import Console, build_console
from core.compose.records import CompositionSpec
from core.errors import UnavailableError
from core.jobs import service as jobs
from core.jobs.records import JobState
from core.registry.records import AdapterType
from core.settings import Settings
from core.storage.database import Database
from core.storage.files import staged_directory, write_atomically
from core.tenants import service as tenants
from core.tenants.records import Principal, Role
from tests.core.training.tiny_base import make_tiny_base
from tests.security.conftest import packed

STEPS = ("fsync", "replace", "rename")


class PowerCut(BaseException):
    """Nothing after this happens, not even tidying up."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function: note each fsync and rename by its file; with `cut`, fail before the step of that number."""

    def watch(cut: int | None = None) -> list[str]:
        noted: list[str] = []

        def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **more: Any) -> Any:
                if cut is not None and len(noted) >= cut:
                    raise PowerCut
                first = arguments[0]
                place = (
                    str(Path(f"/proc/self/fd/{first}").readlink())
                    if isinstance(first, int)
                    else os.fspath(first)
                )
                noted.append(f"{name} {place}")
                return real(*arguments, **more)

            return step

        for name in STEPS:
            monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
        if cut is not None:
            # A dead process removes nothing.
            monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
        return noted

    return watch


def test_row_32_a_file_is_synced_before_its_rename_and_its_folder_after(
    tmp_path: Path, steps: Callable[..., list[str]]
) -> None:
    noted = steps()
    write_atomically(tmp_path / "fence", b"new")
    kinds = [line.split(" ")[0] for line in noted]
    assert kinds == ["fsync", "replace", "fsync"]
    assert noted[0].split(" ", 1)[1] == noted[1].split(" ", 1)[1]
    assert noted[0].endswith(".part")
    assert noted[2] == f"fsync {tmp_path}"


def test_row_32_every_file_and_folder_is_synced_before_a_folder_appears(
    tmp_path: Path, steps: Callable[..., list[str]]
) -> None:
    final = tmp_path / "adapters" / "digest"
    noted = steps()
    with staged_directory(final) as staging:
        (staging / "inner").mkdir()
        for name in ("weights", "config", "inner/more"):
            (staging / name).write_text(name)
    renamed = next(i for i, line in enumerate(noted) if line.startswith("rename"))
    before = {line.removeprefix("fsync ") for line in noted[:renamed]}
    wanted = {f"{staging}/{name}" for name in ("weights", "config", "inner/more", "inner")} | {str(staging)}
    assert before == wanted
    assert noted[renamed + 1 :] == [f"fsync {final.parent}"]


def test_row_32_a_cut_at_any_step_leaves_the_old_or_the_new_file(
    tmp_path: Path, steps: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for cut in range(4):
        path = tmp_path / str(cut) / "file"
        path.parent.mkdir()
        path.write_bytes(b"old")
        with monkeypatch.context():
            steps(cut)
            with suppress(PowerCut):
                write_atomically(path, b"new content")
        monkeypatch.undo()
        seen.append(path.read_bytes())
    assert seen == [b"old", b"old", b"new content", b"new content"]


def test_row_32_a_cut_at_any_step_leaves_a_whole_folder_or_none(
    tmp_path: Path, steps: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"weights": "w" * 5000, "config": "c"}

    def publish(final: Path) -> None:
        with staged_directory(final) as staging:
            for name, text in whole.items():
                (staging / name).write_text(text)

    appeared = 0
    for cut in range(6):
        final = tmp_path / str(cut) / "digest"
        steps(cut)
        with suppress(PowerCut):
            publish(final)
        monkeypatch.undo()
        # Only what has no name of its own may be left: a listing by content never meets it.
        named = [path.name for path in final.parent.iterdir() if not path.name.startswith(".")]
        assert named in ([], ["digest"])
        appeared += final.exists()
        if final.exists():
            assert {path.name: path.read_text() for path in final.iterdir()} == whole
        # What was left behind is not in the way of the next attempt.
        publish(final)
        assert {path.name: path.read_text() for path in final.iterdir()} == whole
    assert 0 < appeared < 6


def test_row_32_a_commit_is_on_the_disk_when_it_returns(settings: Settings) -> None:
    database = Database(settings.resolved_database_url)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    database.close()
    assert journal == ("wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "delete")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB. Needs the right to mount."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs the right to mount")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def cramped(small_disk: Path, sqlite_template: Path, tmp_path: Path) -> Iterator[tuple[Console, Principal]]:
    """A console whose database, adapters and datasets are on the small disk."""
    shutil.copy(sqlite_template, small_disk / "rmn.sqlite")
    base = make_tiny_base(tmp_path / "models")
    console = build_console(Settings(home=small_disk, base_model=str(base)))
    now = datetime.now(UTC)
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha", now=now)
        user = tenants.add_user(s, tenant.id, email="a@alpha.example", name="A", role=Role.ADMIN, now=now)
    yield console, Principal(tenant.id, tenant.name, user.email, user.role, user_id=user.id)
    console.close()


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all room but `leave` bytes."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with ballast.open("r+b") as file:
        file.truncate(max(0, ballast.stat().st_size - leave))
    return ballast


def adapter_package(console: Console) -> io.BytesIO:
    tensors = {}
    for path, (outputs, inputs) in console.base().linears.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = np.ones((16, inputs), np.float32)
        tensors[f"base_model.model.{path}.lora_B.weight"] = np.ones((outputs, 16), np.float32)
    names = sorted({path.rpartition(".")[2] for path in console.base().linears})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 16, "lora_alpha": 4, "bias": "none"}
    settings = json.dumps(config | {"target_modules": names}).encode()
    return io.BytesIO(packed({"adapter_model.safetensors": save(tensors), "adapter_config.json": settings}))


def left_over(disk: Path) -> list[str]:
    return [
        str(path.relative_to(disk))
        for path in disk.rglob("*")
        if path.is_file() and path.name not in ("rmn.sqlite", "queue.sqlite", "ballast")
    ]


def test_row_33_an_upload_that_finds_no_room_leaves_nothing_and_the_next_one_works(
    cramped: tuple[Console, Principal],
) -> None:
    from app.actions import datasets

    console, principal = cramped
    rows = b"".join(b'{"prompt": "p%d %s", "completion": "c"}\n' % (n, b"x" * 500) for n in range(400))
    for leave in (0, 4096, 100_000):
        ballast = fill(console.settings.home, leave)
        with pytest.raises(UnavailableError, match="could not be stored") as refused:
            datasets.import_dataset(console, principal, io.BytesIO(rows), "set")
        assert "Free some disk space" in refused.value.next_step
        assert left_over(console.settings.home) == []
        assert datasets.list_datasets(console, principal) == []
        ballast.unlink()
    assert datasets.import_dataset(console, principal, io.BytesIO(rows), "set").rows == 400


def test_row_33_an_adapter_that_finds_no_room_leaves_nothing_and_the_next_one_works(
    cramped: tuple[Console, Principal],
) -> None:
    from app.actions import adapters

    console, principal = cramped
    package = adapter_package(console)
    size = len(package.getvalue())
    for leave in (0, 4096, size // 2, size + 20_000):
        ballast = fill(console.settings.home, leave)
        with pytest.raises(UnavailableError, match="could not be stored") as refused:
            adapters.import_adapter(console, principal, package, name="alpha", type=AdapterType.TASK)
        assert "Free some disk space" in refused.value.next_step
        package.seek(0)
        assert left_over(console.settings.home) == []
        assert adapters.list_adapters(console, principal) == []
        ballast.unlink()
    made = adapters.import_adapter(console, principal, package, name="alpha", type=AdapterType.TASK)
    fill(console.settings.home)
    with pytest.raises(UnavailableError, match="could not be stored"):
        adapters.export_adapter(console, principal, made.id)
    exports = console.settings.home / "exports"
    assert [path for path in exports.rglob("*") if path.is_file()] == []


def test_row_33_a_database_without_room_keeps_what_it_has_and_goes_on_when_there_is_room(
    cramped: tuple[Console, Principal],
) -> None:
    from app.actions import compositions

    console, principal = cramped
    words = "long description " * 50
    compositions.save_federation(console, principal, "first", words, CompositionSpec())
    ballast = fill(console.settings.home)
    saved = 1

    def save_many() -> None:
        nonlocal saved
        for number in range(200):
            compositions.save_federation(console, principal, f"f{number}", words, CompositionSpec())
            saved += 1

    with pytest.raises(UnavailableError) as refused:
        save_many()
    # SQLite gives the whole transaction up by itself, and then complains about a savepoint: nobody reads that.
    assert refused.value.what == "The disk is full."
    assert "Free some disk space" in refused.value.next_step
    assert "savepoint" not in str(refused.value)
    assert len(compositions.list_federations(console, principal)) == saved
    ballast.unlink()
    compositions.save_federation(console, principal, "last", words, CompositionSpec())
    assert len(compositions.list_federations(console, principal)) == saved + 1
    connection = sqlite3.connect(console.settings.home / "rmn.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_row_33_the_api_says_that_the_disk_is_full(cramped: tuple[Console, Principal]) -> None:
    from app.api.application import build_api

    console, principal = cramped
    with console.database.transaction() as s:
        key = tenants.create_api_key(
            s, principal.tenant_id, name="k", role=Role.ADMIN, created_by="t", now=datetime.now(UTC)
        ).secret
    body = {"name": "f", "description": "long description " * 50, "spec": {}}
    answers = []
    with TestClient(build_api(console), raise_server_exceptions=False) as client:
        client.get("/adapters", headers={"x-api-key": key})  # the use of the key is noted once a minute
        fill(console.settings.home)
        for number in range(200):
            body["name"] = f"f{number}"
            answer = client.post("/composition/federations", json=body, headers={"x-api-key": key})
            answers.append(answer)
            if answer.status_code >= 400:
                break
        seen = client.get("/composition/federations", headers={"x-api-key": key})
    error = answers[-1].json()["error"]
    assert (answers[-1].status_code, error["code"], error["what"]) == (
        503,
        "unavailable",
        "The disk is full.",
    )
    assert "Free some disk space" in error["next_step"]
    assert seen.status_code == 200
    assert len(seen.json()["items"]) == len(answers) - 1


def test_row_33_only_a_full_disk_is_called_one(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with pytest.raises(OperationalError, match="no such table"), database.transaction() as s:
        s.execute(text("SELECT * FROM nowhere"))
    with database.transaction() as s:
        s.execute(text("PRAGMA max_page_count = 2"))
        s.execute(text("CREATE TABLE notes (words TEXT)"))

    def write_more_than_there_is_room_for() -> None:
        with database.transaction() as s:
            s.execute(text("PRAGMA max_page_count = 2"))
            with s.begin_nested():
                s.execute(text("INSERT INTO notes VALUES (:words)"), {"words": "x" * 100_000})

    with pytest.raises(UnavailableError, match="The disk is full"):
        write_more_than_there_is_room_for()
    database.close()


CHILD = """
import sys
from datetime import UTC, datetime
from core.storage.files import write_atomically
from core.settings import load_settings
from app.job_child import end_job
from core.jobs import service as jobs
from core.storage.database import Database
from core.training.failures import explain
settings = load_settings()
database = Database(settings.resolved_database_url)
with database.reading() as s:
    job = jobs.load_for_worker(s, sys.argv[1])
try:
    write_atomically(settings.jobs_dir / job.id / "checkpoint", bytes(4 << 20))
except OSError as error:
    sys.exit(end_job(database, job, explain(error)))
"""


def test_row_33_a_job_that_finds_no_room_fails_and_says_so(
    settings: Settings, small_disk: Path, now: datetime
) -> None:
    """The database is elsewhere, as in an installation whose jobs have a disk of their own."""
    from app.worker import run_job_here

    roomless = settings.model_copy(
        update={"home": small_disk, "database_url": settings.resolved_database_url}
    )
    database = Database(roomless.resolved_database_url)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha", now=now)
        job = jobs.submit(s, tenant.id, kind="train", name="x", spec={}, submitted_by="t", now=now)
    run_job_here(roomless, job.id, command=lambda job: [sys.executable, "-c", CHILD, job.id])
    with database.reading() as s:
        ended = jobs.get(s, tenant.id, job.id)
    database.close()
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.what == "The disk is full."
    assert {path.name for path in (small_disk / "jobs" / job.id).iterdir()} == {"lock", "fence", "log.txt"}


def test_row_30_an_adapter_that_somebody_publishes_a_moment_earlier_stays_where_it_is(
    cramped: tuple[Console, Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.actions import adapters

    console, principal = cramped
    package = adapter_package(console)
    looked: list[Path] = []
    real = Path.exists

    def exists(path: Path, **more: Any) -> bool:
        if path.parent == console.settings.adapters_dir and not path.name.startswith(".") and not looked:
            looked.append(path)
            other = io.BytesIO(package.getvalue())
            adapters.import_adapter(console, principal, other, name="alpha", type=AdapterType.TASK)
            places.append(path.stat().st_ino)
            return False  # as it was when this one looked
        return real(path, **more)

    places: list[int] = []
    monkeypatch.setattr(Path, "exists", exists)
    adapters.import_adapter(console, principal, package, name="alpha", type=AdapterType.TASK)
    assert looked
    assert looked[0].stat().st_ino == places[0]
    assert [path.name for path in console.settings.adapters_dir.iterdir()] == [looked[0].name]
