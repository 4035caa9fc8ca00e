"""What can be known before a run starts is said before it starts."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import training_child
from core.datasets import service as datasets
from core.errors import (
    ConflictError,
    InsufficientMemoryError,
    InvalidInputError,
    NotFoundError,
    RefusedFileError,
    RmnError,
    UnavailableError,
)
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.registry.records import AdapterType
from core.settings import Settings
from core.storage.database import Database
from core.tenants import service as tenants
from core.training import service
from core.training.progress import Stop
from core.training.records import TrainingSpec
from tests.core.training.tiny_base import (
    make_tiny_base,
    register_small_set,
    small_rows,
    small_spec,
    submit_run,
    write_set,
)

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


class Desk:
    """One tenant who submits runs."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.database = Database(settings.resolved_database_url)
        with self.database.transaction() as s:
            self.tenant_id = tenants.create_tenant(s, name="Alpha Stores", now=NOW).id
            self.dataset = register_small_set(s, self.tenant_id, folder, NOW)

    def submit(self, settings: Settings | None = None, **overrides: Any) -> Job:
        spec: TrainingSpec = overrides.pop("spec", None) or small_spec(self.dataset, **overrides)
        return submit_run(self.database, self.tenant_id, spec, settings or self.settings, NOW)

    def register(self, rows: list[dict[str, object]], name: str) -> str:
        path = write_set(self.folder / f"{name}.jsonl", rows)
        with self.database.transaction() as s:
            return datasets.register_file(s, self.tenant_id, path=path, card=None, name=name, now=NOW).id

    def run(self, job_id: str, settings: Settings | None = None) -> Job:
        with self.database.transaction() as s:
            job = jobs.claim(s, job_id, now=NOW)
        assert job is not None
        status = training_child.run_job(self.database, settings or self.settings, job.id, job.fence, Stop())
        assert status == training_child.DONE
        with self.database.reading() as s:
            return jobs.get(s, self.tenant_id, job_id)


@pytest.fixture
def desk(tiny_settings: Settings, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tiny_settings, tmp_path)
    yield desk
    desk.database.close()


def test_a_sound_run_is_queued_with_its_whole_spec(desk: Desk) -> None:
    job = desk.submit()
    assert (job.state, job.kind, job.name, job.submitted_by) == (JobState.QUEUED, "train", "first", "tests")
    assert TrainingSpec.model_validate(job.spec) == small_spec(desk.dataset)


def refused(desk: Desk, kind: type[RmnError], **options: Any) -> RmnError:
    with pytest.raises(kind) as error:
        desk.submit(**options)
    assert error.value.what
    assert error.value.next_step
    with desk.database.reading() as s:
        assert jobs.list_jobs(s, desk.tenant_id) == []
    return error.value


def test_an_unknown_dataset_is_refused(desk: Desk) -> None:
    refused(desk, NotFoundError, spec=small_spec("ds_none"))


def test_another_tenants_dataset_is_not_found(desk: Desk) -> None:
    with desk.database.transaction() as s:
        other = tenants.create_tenant(s, name="Beta Market", now=NOW)
    with pytest.raises(NotFoundError):
        submit_run(desk.database, other.id, small_spec(desk.dataset), desk.settings, NOW)


def test_a_set_of_preference_pairs_is_refused_with_its_kind(desk: Desk) -> None:
    pairs: list[dict[str, object]] = [
        {"prompt": f"p{i}", "chosen": "yes", "rejected": "no", "split": "train"} for i in range(20)
    ]
    error = refused(desk, InvalidInputError, spec=small_spec(desk.register(pairs, "pairs")))
    assert "dpo" in error.why


def test_a_set_with_errors_is_refused_with_the_lines(desk: Desk) -> None:
    rows = small_rows()
    rows[3]["completion"] = " "
    error = refused(desk, InvalidInputError, spec=small_spec(desk.register(rows, "empty")))
    assert "4" in error.why


def test_examples_longer_than_the_limit_are_refused_with_the_lines(desk: Desk) -> None:
    rows = small_rows()
    rows[5]["prompt"] = "word " * 30
    error = refused(desk, InvalidInputError, spec=small_spec(desk.register(rows, "long")))
    assert "6" in error.why
    assert "96" in error.why


def test_examples_longer_than_the_base_can_hold_are_refused_whatever_the_limit_says(desk: Desk) -> None:
    rows = small_rows()
    rows[5]["prompt"] = "word " * 40
    spec = small_spec(desk.register(rows, "longer"), max_length=4096)
    assert "128" in refused(desk, InvalidInputError, spec=spec).why


def test_a_file_that_changed_since_it_was_registered_is_refused(desk: Desk) -> None:
    (desk.folder / "small.jsonl").write_text("{}\n")
    refused(desk, RmnError)


def test_a_missing_base_is_refused(desk: Desk) -> None:
    settings = desk.settings.model_copy(update={"base_model": "nowhere"})
    refused(desk, NotFoundError, settings=settings)


def test_a_base_that_is_not_on_this_machine_yet_is_refused_with_the_way_to_fetch_it(desk: Desk) -> None:
    settings = desk.settings.model_copy(update={"base_model": "nobody/no-such-model"})
    error = refused(desk, UnavailableError, settings=settings)
    assert "hf download nobody/no-such-model" in error.next_step


@pytest.mark.parametrize("missing", ["tokenizer.json", "chat_template.jinja"])
def test_a_base_without_tokenizer_or_template_is_refused(desk: Desk, missing: str, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "models")
    (base / missing).unlink()
    settings = desk.settings.model_copy(update={"base_model": str(base)})
    refused(desk, RefusedFileError, settings=settings)


def test_layers_that_the_base_has_not_are_refused(desk: Desk) -> None:
    error = refused(desk, InvalidInputError, lora={"target_modules": ["q_proj", "c_attn"]})
    assert "c_attn" in error.what
    assert "gate_proj" in error.why


def test_a_run_that_does_not_fit_says_how_much_and_what_would(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "free_bytes", lambda _device: 100 << 20)
    error = refused(desk, InsufficientMemoryError)
    assert "105 MB are free" in error.why


def test_a_name_of_another_type_is_refused_and_the_same_type_gets_its_next_version(desk: Desk) -> None:
    desk.run(desk.submit(epochs=1.0, evaluate=False).id)
    with pytest.raises(ConflictError):
        desk.submit(spec=small_spec(desk.dataset).model_copy(update={"adapter_type": AdapterType.BRAND}))
    done = desk.run(desk.submit(epochs=1.0, evaluate=False).id)
    assert done.result is not None
    assert done.result["version"] == 2


@pytest.mark.parametrize("trouble", ["file", "base", "memory", "row"])
def test_a_job_that_can_no_longer_run_fails_with_what_why_and_what_next(
    desk: Desk, trouble: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job_id, settings = desk.submit().id, desk.settings
    if trouble == "file":
        (desk.folder / "small.jsonl").unlink()
    elif trouble == "base":
        settings = settings.model_copy(update={"base_model": "gone"})
    elif trouble == "memory":
        monkeypatch.setattr(service, "free_bytes", lambda _device: 1 << 20)
    else:
        with desk.database.transaction() as s:
            spec = {"name": "x", "unknown": 1}
            job_id = jobs.submit(
                s, desk.tenant_id, kind="train", name="x", spec=spec, submitted_by="t", now=NOW
            ).id
    job = desk.run(job_id, settings)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.what
    assert job.error.next_step
    assert "Traceback" not in job.error.what + job.error.why


def test_nothing_before_the_run_itself_loads_torch() -> None:
    program = (
        "import sys, core.training.service, core.training.presets, core.training.estimate, app.training_child;"
        "print(sorted({'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_others_write_while_a_run_is_prepared(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and measuring a large set takes seconds; SQLite has one writer, who must not wait for that."""
    written = []
    real = datasets.read_examples

    def read(dataset: Any) -> Any:
        other = Database(desk.settings.resolved_database_url)
        with other.transaction() as s:
            written.append(tenants.create_tenant(s, name="Beta Market", now=NOW).id)
        other.close()
        return real(dataset)

    monkeypatch.setattr(service.datasets, "read_examples", read)
    job = desk.submit(epochs=1.0, evaluate=False)
    assert len(written) == 1
    done = desk.run(job.id)  # the runner, too
    assert done.state is JobState.SUCCEEDED
    assert len(written) == 2


def test_a_prepared_run_is_written_for_no_tenant_but_that_of_its_dataset(desk: Desk) -> None:
    spec = small_spec(desk.dataset)
    with desk.database.reading() as s:
        known = service.look_up(s, desk.tenant_id, spec)
    work = service.prepare(spec, known, settings=desk.settings)
    with desk.database.transaction() as s:
        other = tenants.create_tenant(s, name="Beta Market", now=NOW).id
        with pytest.raises(NotFoundError):
            service.submit(s, other, work, submitted_by="x", now=NOW)


def test_a_submission_is_named_by_its_draft_and_all_its_values(desk: Desk) -> None:
    spec = small_spec(desk.dataset)
    named = service.submission_digest(spec, "draft_1")
    assert named == service.submission_digest(small_spec(desk.dataset), "draft_1")
    assert len(named) == 64
    others = {
        service.submission_digest(spec, "draft_2"),
        service.submission_digest(spec.model_copy(update={"seed": 99}), "draft_1"),
        service.submission_digest(spec, "draft_1\ud800"),
    }
    assert len(others | {named}) == 4


def test_a_gzipped_set_trains_as_well(desk: Desk) -> None:
    path = desk.folder / "packed.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in small_rows())
    with desk.database.transaction() as s:
        dataset = datasets.register_file(s, desk.tenant_id, path=path, card=None, name="packed", now=NOW)
    assert desk.submit(spec=small_spec(dataset)).state is JobState.QUEUED
