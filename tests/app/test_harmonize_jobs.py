"""Harmonize jobs in their child process: success, failure, cancel, a stale attempt, what a kill leaves behind."""

import importlib.util
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app import harmonize_child, job_child
from app.actions import datasets, harmonize, mappings
from app.api.mapping_schemas import EXAMPLE_MAPPING
from app.bootstrap import Console
from app.worker import job_command, run_job_here, training_command
from core.harmonize.records import Mapping, SourceCard
from core.jobs import service as jobs
from core.jobs.attempts import Outcome
from core.jobs.records import Job, JobState
from core.settings import PROJECT_ROOT
from core.tenants.records import Principal
from core.training.progress import Stop

RAW = (
    b"Date,Campaign ID,Spend,14 Day Sales\n2026-03-01,000123,1500000,10.00\n2026-03-02,000124,3750000,80.00\n"
)
DIGEST_FIELDS = ("digest", "rows_in", "rows_out", "coverage")


@pytest.fixture
def principal(workspace: Any) -> Principal:
    who: Principal = workspace.principal()
    return who


def submit(c: Console, p: Principal, raw: bytes = RAW, **more: Any) -> Job:
    datasets.import_raw(c, p, io.BytesIO(raw), "north", SourceCard(retailer="North Stores"))
    mappings.save_mapping(c, p, name="north", mapping=Mapping.model_validate(EXAMPLE_MAPPING))
    return harmonize.submit_harmonize(c, p, dataset="north", mapping="north", **more)


def claimed(c: Console, job: Job) -> Job:
    with c.database.transaction() as s:
        found = jobs.claim(s, job.id, now=c.clock())
    assert found is not None
    return found


def attempt(c: Console, job: Job, fence: str | None = None, stop: Stop | None = None) -> int:
    return harmonize_child.run_job(c.database, c.settings, job.id, fence or job.fence, stop or Stop())


def ended(c: Console, p: Principal, job: Job) -> Job:
    with c.database.reading() as s:
        return jobs.get(s, p.tenant_id, job.id)


def test_each_kind_of_job_has_its_child(console: Console, principal: Principal) -> None:
    job = submit(console, principal)
    command = job_command(job)
    assert command[1:] == ["-m", "app.harmonize_child", "--job", job.id, "--fence", job.fence]
    assert importlib.util.find_spec("app.harmonize_child") is not None
    with console.database.transaction() as s:
        other = jobs.submit(
            s, principal.tenant_id, kind="train", name="x", spec={}, submitted_by="t", now=console.clock()
        )
    assert job_command(other) == training_command(other)


def test_the_child_loads_no_torch() -> None:
    code = (
        "import sys, app.harmonize_child; "
        "print([n for n in ('torch', 'transformers', 'peft', 'trl', 'streamlit') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_worker_runs_the_job_to_its_end_in_a_process_of_its_own(
    console: Console, principal: Principal
) -> None:
    job = submit(console, principal, format="csv")
    assert run_job_here(console.settings, job.id) is Outcome.ENDED
    done = ended(console, principal, job)
    assert (done.state, done.error) == (JobState.SUCCEEDED, None), done
    (run,) = harmonize.list_runs(console, principal)
    text = harmonize.run_file(console, principal, run.id).read_text()
    assert "2026-03-01T06:00:00Z" in text
    assert "North Stores" in text
    assert {p.name for p in (console.settings.jobs_dir / job.id).iterdir()} == {"lock", "fence", "log.txt"}


def test_the_same_job_twice_gives_the_same_bytes_and_a_run_each(
    console: Console, principal: Principal
) -> None:
    first, second = claimed(console, submit(console, principal)), claimed(console, submit(console, principal))
    assert attempt(console, first) == attempt(console, second) == job_child.DONE
    one, two = harmonize.list_runs(console, principal)
    assert one.id != two.id
    assert [getattr(one, f) for f in DIGEST_FIELDS] == [getattr(two, f) for f in DIGEST_FIELDS]


def test_a_card_for_one_run_counts_for_more_than_that_of_the_dataset(
    console: Console, principal: Principal
) -> None:
    card = SourceCard(retailer="South Stores", account_timezone="Europe/Berlin")
    job = claimed(console, submit(console, principal, format="csv", card=card))
    assert attempt(console, job) == job_child.DONE
    (run,) = harmonize.list_runs(console, principal)
    text = harmonize.run_file(console, principal, run.id).read_text()
    assert "South Stores" in text
    assert "2026-02-28T23:00:00Z" in text


def test_a_stale_attempt_writes_nothing(console: Console, principal: Principal) -> None:
    old = claimed(console, submit(console, principal))
    new = claimed(console, old)
    assert attempt(console, old) == job_child.FENCED
    assert harmonize.list_runs(console, principal) == []
    assert attempt(console, new) == job_child.DONE
    assert len(harmonize.list_runs(console, principal)) == 1


def test_a_stop_leaves_the_job_to_the_next_attempt_and_a_cancel_ends_it(
    console: Console, principal: Principal
) -> None:
    job = claimed(console, submit(console, principal))
    stop = Stop()
    stop.request()
    assert attempt(console, job, stop=stop) == job_child.INTERRUPTED
    assert ended(console, principal, job).state is JobState.RUNNING
    with console.database.transaction() as s:
        jobs.request_cancel(s, principal.tenant_id, job.id, now=console.clock())
    assert attempt(console, job) == job_child.DONE
    assert ended(console, principal, job).state is JobState.CANCELLED
    assert harmonize.list_runs(console, principal) == []


def test_what_a_killed_attempt_left_is_swept_and_never_taken_for_the_result(
    console: Console, principal: Principal
) -> None:
    job = claimed(console, submit(console, principal))
    folder = console.settings.harmonized_dir
    (folder / job.id).mkdir(parents=True)
    (folder / job.id / "rows.parquet").write_bytes(b"half")
    (folder / f".{job.id}.abc.part").mkdir()
    assert attempt(console, job) == job_child.DONE
    (run,) = harmonize.list_runs(console, principal)
    assert harmonize.run_file(console, principal, run.id).read_bytes()[:4] == b"PAR1"
    assert not list(folder.glob(f".{job.id}*"))


def test_a_file_that_changed_and_a_mapping_that_does_not_fit_say_so_in_the_job(
    console: Console, principal: Principal
) -> None:
    job = claimed(console, submit(console, principal))
    dataset = datasets.find_dataset(console, principal, "north")
    path = console.settings.datasets_dir / f"{dataset.digest}.csv"
    content = path.read_bytes()
    path.write_bytes(content + b"2026-03-03,000125,1,1\n")
    try:
        assert attempt(console, job) == job_child.DONE
    finally:
        path.write_bytes(content)
    failed = ended(console, principal, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "has changed" in failed.error.what
    assert failed.error.next_step


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("x"), "out of memory"),
        (OSError(28, "No space left on device"), "disk is full"),
        (RuntimeError("odd"), "not foreseen"),
    ],
)
def test_every_failure_is_told_in_words(error: Exception, words: str) -> None:
    told = harmonize_child.explain(error)
    assert words in told.what
    assert told.next_step


def test_what_is_submitted_twice_under_one_key_is_one_job(console: Console, principal: Principal) -> None:
    first = submit(console, principal, key="draft-1")

    def again(**more: Any) -> Job:
        return harmonize.submit_harmonize(console, principal, dataset="north", mapping="north", **more)

    assert again(key="draft-1").id == first.id
    others = {again(key="draft-2").id, again(key="draft-1", format="csv").id, again().id, again().id}
    assert len(others | {first.id}) == 5
    with console.database.transaction() as s:
        jobs.request_cancel(s, principal.tenant_id, first.id, now=console.clock())
    assert again(key="draft-1").id not in {first.id, *others}


def test_clicks_at_the_same_time_are_one_job(console: Console, principal: Principal) -> None:
    submit(console, principal, key="warm")

    def click(_: int) -> str:
        return harmonize.submit_harmonize(
            console, principal, dataset="north", mapping="north", key="draft"
        ).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(click, range(4)))) == 1
