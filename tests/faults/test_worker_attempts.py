"""Attempts with real child processes: death, cancel, stop, and what the job's row says afterwards."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import worker
from app.worker import a_worker_runs, child_environment, run_job_here
from core.errors import NotFoundError, UnavailableError
from core.jobs import service as jobs
from core.jobs.attempts import JobRunner, Outcome, Pace, explain_deaths
from core.jobs.folder import JobFolder
from core.jobs.records import Job, JobState
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.tenants import service as tenants

CHILD = str(Path(__file__).with_name("counting_child.py"))
PACE = Pace(watch_s=0.05, heartbeat_s=0.2, terminate_s=8.0, linger_s=0.5, retry_s=0.05, lease_s=60.0)


def counting_command(job: Job) -> list[str]:
    return [sys.executable, CHILD, "--job", job.id, "--fence", job.fence]


@pytest.fixture
def runner(settings: Settings) -> Iterator[JobRunner]:
    database = Database(settings.resolved_database_url)
    yield JobRunner(
        database=database,
        jobs_dir=settings.jobs_dir,
        command=counting_command,
        environment=child_environment(settings),
        clock=lambda: datetime.now(UTC),
        pace=PACE,
        niceness=0,
    )
    database.close()


@pytest.fixture
def submit(runner: JobRunner, now: datetime) -> Callable[..., Job]:
    with runner.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Alpha Stores", now=now)

    def submitted(**spec: Any) -> Job:
        with runner.database.transaction() as s:
            return jobs.submit(
                s, tenant.id, kind="count", name="count", spec=spec, submitted_by="ann", now=now
            )

    return submitted


def load(runner: JobRunner, job: Job) -> Job:
    with runner.database.reading() as s:
        return jobs.load_for_worker(s, job.id)


def notes(runner: JobRunner, job: Job) -> list[dict[str, Any]]:
    path = runner.jobs_dir / job.id / "notes"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_step(runner: JobRunner, job: Job, step: int) -> Job:
    deadline = time.monotonic() + 60
    while (seen := load(runner, job)).step < step:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def in_thread(runner: JobRunner, job: Job) -> tuple[threading.Thread, list[Outcome]]:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(runner.run(job.id)))
    thread.start()
    return thread, outcomes


def test_a_job_runs_to_its_end_in_a_child_of_its_own(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=5)
    assert replace(runner, niceness=5).run(job.id) is Outcome.ENDED
    done = load(runner, job)
    assert (done.state, done.attempt, done.result) == (JobState.SUCCEEDED, 1, {"counted": 5})
    start, end = notes(runner, job)
    assert start["pid"] != os.getpid()
    assert start["nice"] == 5
    assert start["OMP_WAIT_POLICY"] == "PASSIVE"
    assert int(start["OMP_NUM_THREADS"]) >= 1
    assert end == {"event": "done", "fence": done.fence}
    with runner.database.reading() as s:
        assert [point.step for point in jobs.points(s, job.tenant_id, job.id)] == [1, 2, 3, 4, 5]
    assert (runner.jobs_dir / job.id / "log.txt").read_text().startswith("--- attempt 1, ")
    assert runner.run(job.id) is Outcome.ENDED
    assert len(notes(runner, job)) == 2


def test_a_killed_child_goes_on_where_it_was(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=40, pause_s=0.02)
    thread, outcomes = in_thread(runner, job)
    for killed_at in (5, 12):
        wait_for_step(runner, job, killed_at)
        os.kill(notes(runner, job)[-1]["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(notes(runner, job)) < (2 if killed_at == 5 else 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    thread.join(60)
    assert outcomes == [Outcome.ENDED]
    done = load(runner, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 3)
    seen = notes(runner, job)
    assert [note["event"] for note in seen] == ["start", "start", "start", "done"]
    assert 4 <= seen[1]["begin"] < seen[2]["begin"]
    with runner.database.reading() as s:
        assert [point.step for point in jobs.points(s, job.tenant_id, job.id)] == list(range(1, 41))


def test_a_child_that_is_killed_at_the_same_step_again_and_again_fails_with_a_hint_at_memory(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=4, at=1, ends="kill")
    place = runner.jobs_dir / job.id / "place"
    place.parent.mkdir(parents=True)

    def forgetful(job: Job) -> list[str]:
        place.write_text("0")
        return counting_command(job)

    assert replace(runner, command=forgetful).run(job.id) is Outcome.ENDED
    failed = load(runner, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 3)
    assert failed.error is not None
    assert "killed" in failed.error.what
    assert "signal 9 (SIGKILL), 3 times" in failed.error.why
    assert "memory" in failed.error.why
    assert "smaller" in failed.error.next_step


def test_a_child_that_ends_without_an_outcome_fails_with_its_last_word(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=4, at=4, ends="exit")
    place = runner.jobs_dir / job.id / "place"
    place.parent.mkdir(parents=True)

    def forgetful(job: Job) -> list[str]:
        place.write_text("3")
        return counting_command(job)

    assert replace(runner, command=forgetful).run(job.id) is Outcome.ENDED
    failed = load(runner, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "status 1, 3 times" in failed.error.why
    assert "the disk is full" in failed.error.why
    assert "\x1b" not in failed.error.why


def test_a_child_that_leaves_early_without_a_word_is_tried_again(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=4, at=2, ends="leave")
    assert runner.run(job.id) is Outcome.ENDED
    assert (load(runner, job).state, load(runner, job).attempt) == (JobState.SUCCEEDED, 2)


def test_a_child_that_says_why_it_failed_is_not_tried_again(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=4, at=2, ends="raise")
    assert runner.run(job.id) is Outcome.ENDED
    failed = load(runner, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 1)
    assert failed.error is not None
    assert failed.error.what == "No."


def test_a_command_that_cannot_be_started_fails_the_job(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=1)
    broken = replace(runner, command=lambda _: ["/no/such/program"])
    assert broken.run(job.id) is Outcome.ENDED
    failed = load(runner, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "could not be started: No such file" in failed.error.why


def test_a_job_whose_folder_cannot_be_made_fails_and_says_so(
    runner: JobRunner, submit: Callable[..., Job], tmp_path: Path
) -> None:
    job = submit(steps=1)
    (tmp_path / "file").touch()
    assert replace(runner, jobs_dir=tmp_path / "file").run(job.id) is Outcome.ENDED
    failed = load(runner, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "Not a directory" in failed.error.why


@pytest.mark.parametrize("ends", [None, "ignore"])
def test_a_cancel_ends_the_child_whether_it_listens_or_not(
    runner: JobRunner, submit: Callable[..., Job], ends: str | None
) -> None:
    job = submit(steps=2000, pause_s=0.05, ends=ends)
    thread, outcomes = in_thread(runner if ends is None else impatient(runner), job)
    pid = notes_of_start(runner, job)
    with runner.database.transaction() as s:
        jobs.request_cancel(s, job.tenant_id, job.id, now=datetime.now(UTC))
    thread.join(60)
    assert outcomes == [Outcome.ENDED]
    assert load(runner, job).state is JobState.CANCELLED
    assert not is_alive(pid)
    assert ([note["event"] for note in notes(runner, job)][-1] == "stopped") == (ends is None)


def test_a_job_cancelled_while_nobody_ran_it_is_not_started(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=3)
    with runner.database.transaction() as s:
        jobs.claim(s, job.id, now=datetime.now(UTC))
        jobs.request_cancel(s, job.tenant_id, job.id, now=datetime.now(UTC))
    later = replace(runner, pace=replace(PACE, lease_s=-60))
    assert later.run(job.id) is Outcome.ENDED
    assert load(runner, job).state is JobState.CANCELLED
    assert notes(runner, job) == []


def test_a_stop_leaves_the_job_to_the_next_attempt(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=60, pause_s=0.02)
    thread, outcomes = in_thread(runner, job)
    wait_for_step(runner, job, 3)
    runner.stop.set()
    thread.join(60)
    assert outcomes == [Outcome.INTERRUPTED]
    waiting = load(runner, job)
    assert (waiting.state, waiting.stage, waiting.heartbeat_at) == (
        JobState.RUNNING,
        "waiting to go on",
        None,
    )
    assert runner.run(job.id) is Outcome.INTERRUPTED
    elsewhere = replace(runner, stop=threading.Event())
    assert elsewhere.is_abandoned(waiting)
    assert elsewhere.run(job.id) is Outcome.ENDED
    assert (load(runner, job).state, load(runner, job).attempt) == (JobState.SUCCEEDED, 2)
    assert [note["event"] for note in notes(runner, job)] == ["start", "stopped", "start", "done"]


def test_a_hurry_does_not_wait_for_a_child_that_does_not_listen(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    patient = replace(runner, pace=replace(PACE, terminate_s=600))
    job = submit(steps=2000, pause_s=0.05, ends="ignore")
    thread, outcomes = in_thread(patient, job)
    pid = notes_of_start(runner, job)
    patient.stop.set()
    patient.hurry.set()
    thread.join(60)
    assert outcomes == [Outcome.INTERRUPTED]
    assert not is_alive(pid)


def test_one_job_is_not_run_twice_at_once(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=20, pause_s=0.02)
    threads = [in_thread(runner, job) for _ in range(3)]
    for thread, _ in threads:
        thread.join(60)
    assert sorted(outcome for _, (outcome,) in threads) == ["ended", "held", "held"]
    assert [note["event"] for note in notes(runner, job)] == ["start", "done"]
    assert load(runner, job).attempt == 1


def test_a_job_that_another_machine_runs_is_left_alone_until_its_signs_of_life_lapse(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=2)
    with runner.database.transaction() as s:
        jobs.claim(s, job.id, now=datetime.now(UTC))
    assert not runner.is_abandoned(load(runner, job))
    assert runner.run(job.id) is Outcome.HELD
    later = replace(runner, pace=replace(PACE, lease_s=-1))
    assert later.is_abandoned(load(runner, job))
    assert later.run(job.id) is Outcome.ENDED
    assert load(runner, job).attempt == 2


def test_a_child_whose_job_was_taken_over_is_ended(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=2000, pause_s=0.2, ends="ignore")
    thread, outcomes = in_thread(impatient(runner), job)
    pid = notes_of_start(runner, job)
    with runner.database.transaction() as s:
        taken = jobs.claim(s, job.id, now=datetime.now(UTC))
    thread.join(60)
    assert outcomes == [Outcome.HELD]
    assert not is_alive(pid)
    assert load(runner, job) == taken


def test_a_child_that_does_not_end_after_its_outcome_is_ended(
    runner: JobRunner, submit: Callable[..., Job]
) -> None:
    job = submit(steps=1)
    program = (
        "import sys, time; from datetime import UTC, datetime; from core.jobs import service as jobs;"
        "from core.settings import load_settings; from core.storage.database import Database\n"
        "with Database(load_settings().resolved_database_url).transaction() as s:\n"
        "    jobs.succeed(s, sys.argv[1], sys.argv[2], result={}, now=datetime.now(UTC))\n"
        "time.sleep(600)"
    )
    lingering = replace(runner, command=lambda job: [sys.executable, "-c", program, job.id, job.fence])
    assert lingering.run(job.id) is Outcome.ENDED
    assert load(runner, job).state is JobState.SUCCEEDED


def test_grandchildren_end_with_the_child(runner: JobRunner, submit: Callable[..., Job]) -> None:
    job = submit(steps=1)
    program = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600']);"
        "open(sys.argv[1], 'a').write(f'{p.pid}\\n'); sys.exit(1)"
    )
    pids = runner.jobs_dir / "pids"
    pids.parent.mkdir(exist_ok=True)
    leaving = replace(runner, command=lambda _: [sys.executable, "-c", program, str(pids)])
    assert leaving.run(job.id) is Outcome.ENDED
    assert len(pids.read_text().split()) == 3
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_a_job_runs_here_where_no_worker_does(
    runner: JobRunner, submit: Callable[..., Job], settings: Settings
) -> None:
    job = submit(steps=2)
    assert a_worker_runs(settings) is False
    assert run_job_here(settings, job.id, command=counting_command, pace=PACE) is Outcome.ENDED
    assert load(runner, job).state is JobState.SUCCEEDED
    with pytest.raises(NotFoundError):
        run_job_here(settings, "job_nobody", command=counting_command)


def test_a_database_that_is_not_set_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="db upgrade"):
        run_job_here(Settings(home=tmp_path), "job_nobody")
    assert list(tmp_path.iterdir()) == []


def test_a_child_sees_the_settings_of_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(home=tmp_path / "home", max_batch_rows=7, open_registration=True, log_level="error")
    monkeypatch.setattr(os, "environ", child_environment(chosen))
    assert Settings() == chosen


def test_the_command_of_a_job_names_a_module_that_is_there() -> None:
    assert importlib.util.find_spec("app.training_child") is not None


def test_an_unknown_signal_is_explained_too() -> None:
    error = explain_deaths("was ended by signal 11 (SIGSEGV)", 3, "x" * 10)
    assert "SIGSEGV" in error.why
    assert "log" in error.next_step


def test_the_last_line_of_a_log_is_short_and_clean(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path, "job")
    assert folder.last_log_line() == ""
    folder.path.mkdir()
    folder.log_path.write_bytes(
        b"x" * 20_000 + b"\nfirst\r 50%\r\x00\xff" + b"y" * 500 + b"\n\n--- attempt 2\n\n"
    )
    assert folder.last_log_line() == "\ufffd" + "y" * 198 + "…"


def impatient(runner: JobRunner) -> JobRunner:
    return replace(runner, pace=replace(PACE, terminate_s=0.3))


def notes_of_start(runner: JobRunner, job: Job) -> int:
    wait_for_step(runner, job, 1)
    return int(notes(runner, job)[0]["pid"])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_log_that_grows_too_large_loses_its_beginning_while_it_is_written(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path, "job")
    assert not folder.cut_log(limit=1000, kept=300)
    folder.path.mkdir()
    with folder.log_path.open("ab", buffering=0) as writer:  # as a child has it open
        for number in range(20):
            writer.write(b"line %06d %s\n" % (number, b"x" * 30))
        assert not folder.cut_log(limit=1000, kept=300)
        inode = folder.log_path.stat().st_ino
        for number in range(20, 40):
            writer.write(b"line %06d %s\n" % (number, b"x" * 30))
        assert folder.cut_log(limit=1000, kept=300)
        writer.write(b"the last word\n")
    lines = folder.log_path.read_text().splitlines()
    assert folder.log_path.stat().st_ino == inode
    assert (
        lines[0] == "--- cut: 1,462 bytes before this"
    )  # 40 lines of 43 bytes, 6 whole ones within 300 are kept
    assert [line[:11] for line in lines[1:-1]] == [f"line {number:06d}" for number in range(34, 40)]
    assert lines[-1] == folder.last_log_line() == "the last word"


def test_the_log_of_a_running_job_is_cut(
    runner: JobRunner, submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = []
    monkeypatch.setattr(JobFolder, "cut_log", lambda folder: cut.append(folder.path.name))
    job = submit(steps=20)
    runner.run(job.id)
    assert load(runner, job).state is JobState.SUCCEEDED
    assert set(cut) == {job.id}


def test_a_child_whose_worker_was_gone_before_it_could_watch_it_ends_at_once() -> None:
    program = "from app.job_child import die_with_parent; die_with_parent(); print('alive')"
    for parent, alive in ((os.getpid(), True), (os.getppid(), False)):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "RMN_WORKER_PID": str(parent)},
            cwd=PROJECT_ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == (0 if alive else -signal.SIGKILL)
        assert ended.stdout == (b"alive\n" if alive else b"")


@pytest.mark.parametrize(("said", "expected"), [(None, 3), (2, 2)])
def test_a_worker_runs_as_many_jobs_at_once_as_it_was_told_or_the_settings_say(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: int | None, expected: int
) -> None:
    asked = []
    monkeypatch.setattr(worker, "work", lambda *_, jobs_at_once, **__: asked.append(jobs_at_once))
    worker.run_worker(settings.model_copy(update={"jobs_at_once": 3}), jobs_at_once=said)
    assert asked == [expected]
    assert Settings(home=settings.home).jobs_at_once == 1
