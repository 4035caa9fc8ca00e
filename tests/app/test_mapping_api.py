"""Mappings and harmonized rows over the REST API, from an upload to the download."""

import io
import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from app.api.application import build_api
from app.api.mapping_schemas import EXAMPLE_MAPPING
from app.bootstrap import Console
from app.harmonize_child import run_job
from app.job_child import DONE
from core.jobs import service as jobs
from core.tenants import audit
from core.tenants.records import Role
from core.training.progress import Stop

RAW = (
    b"Report: Campaign daily\nTime zone: America/Chicago\n\n"
    b"Date,Campaign ID,Spend,14 Day Sales\n"
    b'2026-03-01,000123456789012345,1500000,"1,234.50"\n'
    b"2026-03-02,000123456789012346,3750000,80.00\n"
)


def upload(api: TestClient, headers: dict[str, str], content: bytes = RAW, **form: str) -> Any:
    chosen = {"name": "north march", **form}
    return api.post("/datasets/raw", headers=headers, files={"file": ("north.csv", content)}, data=chosen)


def save(api: TestClient, headers: dict[str, str], **more: Any) -> Any:
    body = {"name": "north", "mapping": EXAMPLE_MAPPING, **more}
    return api.post("/mappings", headers=headers, json=body)


def work(console: Console, job_id: str) -> None:
    """What the worker does with a job, in this process."""
    with console.database.transaction() as s:
        job = jobs.claim(s, job_id, now=console.clock())
    assert job is not None
    assert run_job(console.database, console.settings, job.id, job.fence, Stop()) == DONE


@pytest.fixture
def trainer(workspace: Any) -> dict[str, str]:
    headers: dict[str, str] = workspace.headers(Role.TRAINER)
    return headers


def test_a_raw_file_is_stored_with_its_card_and_rows(api: TestClient, workspace: Any, trainer: Any) -> None:
    card = {"retailer": "North Stores", "currency": "USD"}
    made = upload(api, trainer, card=json.dumps(card))
    assert made.status_code == 201, made.text
    told = made.json()
    assert (told["kind"], told["rows"], told["name"]) == ("events", 2, "north march")
    assert told["columns"] == ["Date", "Campaign ID", "Spend", "14 Day Sales"]
    assert told["broken_rows"] == 0
    assert told["source_card"]["account_timezone"] == "America/Chicago"
    assert told["source_card"]["retailer"] == "North Stores"
    (listed,) = api.get("/datasets", headers=workspace.headers(Role.VIEWER)).json()["items"]
    assert listed["id"] == told["id"]


@pytest.mark.parametrize("card", ["{", "[]", '{"currency": "dollars"}', "x" * 100_000])
def test_a_card_that_is_none_is_refused(api: TestClient, trainer: Any, card: str) -> None:
    answer = upload(api, trainer, card=card)
    assert answer.status_code == 422, answer.text
    assert "card" in str(answer.json()["error"]).lower()


def test_broken_rows_are_reported_and_refuse_nothing(api: TestClient, trainer: Any) -> None:
    made = upload(api, trainer, RAW + b"2026-03-03,7\n")
    assert made.status_code == 201, made.text
    assert (made.json()["rows"], made.json()["broken_rows"]) == (2, 1)


def test_a_file_that_cannot_be_read_at_all_is_refused(api: TestClient, trainer: Any) -> None:
    for content in (b"", b"PK\x03\x04 and so on", b"\x1f\x8bnot gzip"):
        assert upload(api, trainer, content).status_code == 422


def test_uploads_beyond_the_limit_or_the_quota_answer_413(
    api: TestClient, console: Console, workspace: Any, trainer: Any
) -> None:
    rows = b"".join(b"2026-03-01,%d,1.00\n" % n for n in range(40_000))
    assert upload(api, trainer, b"a,b,c\n" + rows + rows).status_code == 413
    small = replace(console, settings=console.settings.model_copy(update={"upload_quota_mb": 1}))
    with TestClient(build_api(small), raise_server_exceptions=False) as tight:
        assert upload(tight, trainer, b"a,b,c\n" + rows).status_code == 201
        answer = upload(tight, trainer, b"d,e,f\n" + rows, name="second")
        training = tight.post(
            "/datasets", headers=trainer, files={"file": b'{"prompt":"a","completion":"b"}\n' * 20_000},
            data={"name": "third"},
        )  # fmt: skip
    assert answer.status_code == training.status_code == 413, answer.text
    assert answer.json()["error"]["code"] == "quota_exceeded"
    names = {each["name"] for each in api.get("/datasets", headers=trainer).json()["items"]}
    assert names == {"north march"}


def test_suggestions_name_every_column_and_say_why(api: TestClient, trainer: Any) -> None:
    upload(api, trainer)
    answer = api.post("/mappings/suggest", headers=trainer, json={"dataset": "north march"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["items"]
    assert [each["source_field"] for each in found] == ["Date", "Campaign ID", "Spend", "14 Day Sales"]
    assert found[0]["target"] == "ts"
    assert all(each["reason"] for each in found)
    missing = api.post("/mappings/suggest", headers=trainer, json={"dataset": "nobody"})
    assert missing.status_code == 404


def test_a_mapping_is_saved_in_versions_and_put_into_use(
    api: TestClient, workspace: Any, trainer: Any
) -> None:
    first = save(api, trainer, note="first")
    assert first.status_code == 201, first.text
    told = first.json()
    assert (told["version"], told["state"], told["note"]) == (1, "draft", "first")
    assert told["mapping"]["rules"][2] == {
        "source_field": "Spend",
        "target": "cost",
        "transform": {"op": "divide", "by": 1000000},
        "qualifiers": {},
    }
    assert save(api, trainer).json()["id"] == told["id"]
    other = {**EXAMPLE_MAPPING, "currency": "CAD"}
    assert save(api, trainer, mapping=other, activate=True).json()["version"] == 2
    place = f"/mappings/{told['mapping_id']}"
    viewer = workspace.headers(Role.VIEWER)
    detail = api.get(place, headers=viewer).json()
    assert (detail["active_version"], detail["latest_version"], detail["coverage"]) == (2, 2, None)
    assert [(each["version"], each["state"]) for each in detail["versions"]] == [(2, "active"), (1, "draft")]
    back = api.post(f"{place}/activate", headers=trainer, json={"version": 1})
    assert (back.status_code, back.json()["state"]) == (200, "active")
    assert api.post(f"{place}/activate", headers=trainer).json()["version"] == 2
    old = api.get(f"{place}/versions/1", headers=viewer).json()
    assert (old["state"], old["mapping"]["currency"]) == ("retired", "USD")
    assert api.get(f"{place}/versions/3", headers=viewer).status_code == 404
    assert api.post(f"{place}/activate", headers=trainer, json={"version": 9}).status_code == 404
    (listed,) = api.get("/mappings", headers=viewer).json()["items"]
    assert listed["id"] == told["mapping_id"]


@pytest.mark.parametrize(
    "rule",
    [
        {"source_field": "a", "target": "no_such_column"},
        {"source_field": "a", "target": "cost", "transform": {"op": "divide"}},
        {"source_field": "a", "target": "cost", "transform": {"op": "fly"}},
        {"source_field": "a", "target": "cost", "qualifiers": {"window_click_days": "many"}},
        {"source_field": "", "target": "cost"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(
    api: TestClient, trainer: Any, rule: dict[str, Any]
) -> None:
    answer = save(api, trainer, mapping={"rules": [rule]})
    assert answer.status_code == 422
    assert "rules.0" in answer.json()["error"]["why"]


@pytest.fixture
def submitted(api: TestClient, trainer: Any) -> Any:
    upload(api, trainer, card=json.dumps({"network": "North Ads"}))
    save(api, trainer, activate=True)
    answer = api.post("/harmonize", headers=trainer, json={"dataset": "north march", "mapping": "north"})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_request_that_is_sent_again_under_its_key_is_one_job(
    api: TestClient, trainer: Any, submitted: Any
) -> None:
    body = {"dataset": "north march", "mapping": "north"}
    headers = {**trainer, "Idempotency-Key": "3f1c"}
    sent = [api.post("/harmonize", headers=headers, json=body).json()["id"] for _ in range(3)]
    assert len(set(sent)) == 1
    assert sent[0] != submitted["id"]
    too_long = {**trainer, "Idempotency-Key": "x" * 201}
    assert api.post("/harmonize", headers=too_long, json=body).status_code == 422


def test_a_dataset_is_harmonized_and_its_rows_are_downloaded(
    api: TestClient, console: Console, workspace: Any, submitted: Any
) -> None:
    viewer = workspace.headers(Role.VIEWER)
    place = f"/harmonize/jobs/{submitted['id']}"
    assert api.get(place, headers=viewer).json()["state"] == "queued"
    work(console, submitted["id"])
    job = api.get(place, headers=viewer).json()
    assert (job["state"], job["progress"], job["error"]) == ("succeeded", 1.0, None)
    assert (job["result"]["rows_in"], job["result"]["rows_out"], job["result"]["conserved"]) == (2, 2, True)
    (run,) = api.get("/harmonize/runs", headers=viewer).json()["items"]
    assert run["id"] == job["result"]["run_id"]
    assert (run["mapping_label"], run["coverage"]) == ("north@1", 1.0)
    assert run["report"]["rows_in"] == 2
    rows = api.get(f"/harmonize/runs/{run['id']}/download", headers=viewer)
    assert rows.status_code == 200
    frame = pl.read_parquet(io.BytesIO(rows.content))
    assert frame["cost"].to_list() == [1.5, 3.75]
    assert frame["campaign_id"].to_list() == ["000123456789012345", "000123456789012346"]
    assert api.get("/mappings", headers=viewer).json()["items"][0]["coverage"] == 1.0
    for filters, count in (({"dataset_id": run["dataset_id"]}, 1), ({"mapping_id": "map_none"}, 0)):
        assert len(api.get("/harmonize/runs", headers=viewer, params=filters).json()["items"]) == count
    with console.database.reading() as s:
        actions = [each.action for each in audit.list_entries(s, workspace.tenant.id)]
    assert {"dataset.imported", "mapping.activated", "harmonize.submitted", "harmonize.finished"} <= set(
        actions
    )


def test_nothing_of_this_machine_is_told(
    api: TestClient, console: Console, workspace: Any, submitted: Any
) -> None:
    work(console, submitted["id"])
    told = "".join(
        api.get(path, headers=workspace.headers()).text
        for path in ("/harmonize/runs", "/datasets", "/mappings", f"/harmonize/jobs/{submitted['id']}")
    )
    assert str(console.settings.home) not in told


def test_training_jobs_and_harmonize_jobs_are_listed_apart(
    api: TestClient, workspace: Any, submitted: Any
) -> None:
    viewer = workspace.headers(Role.VIEWER)
    assert api.get("/training/jobs", headers=viewer).json()["items"] == []
    assert api.get("/harmonize/jobs/job_none", headers=viewer).status_code == 404


def test_only_what_is_there_can_be_harmonized(api: TestClient, trainer: Any, training_file: bytes) -> None:
    upload(api, trainer)
    save(api, trainer)
    api.post("/datasets", headers=trainer, files={"file": training_file}, data={"name": "examples"})
    for body, status in (
        ({"dataset": "nobody", "mapping": "north"}, 404),
        ({"dataset": "north march", "mapping": "nobody"}, 404),
        ({"dataset": "north march", "mapping": "north@2"}, 404),
        ({"dataset": "examples", "mapping": "north"}, 422),
        ({"dataset": "north march", "mapping": "north", "format": "xml"}, 422),
    ):
        assert api.post("/harmonize", headers=trainer, json=body).status_code == status, body


@pytest.fixture
def finished(api: TestClient, console: Console, workspace: Any, submitted: Any) -> Any:
    work(console, submitted["id"])
    (run,) = api.get("/harmonize/runs", headers=workspace.headers()).json()["items"]
    return run


def test_a_part_that_is_not_there_is_not_found_and_changed_rows_are_refused(
    api: TestClient, console: Console, workspace: Any, finished: Any
) -> None:
    place = f"/harmonize/runs/{finished['id']}/download"
    headers = workspace.headers()
    assert api.get(place, headers=headers, params={"part": "other_windows"}).status_code == 404
    assert api.get(place, headers=headers, params={"part": "../rows"}).status_code == 422
    rows = console.settings.harmonized_dir / finished["job_id"] / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-1])
    answer = api.get(place, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "integrity")


def test_another_workspace_sees_nothing_of_it(
    api: TestClient, other_workspace: Any, finished: Any, submitted: Any
) -> None:
    theirs = other_workspace.headers()
    for path in (
        f"/harmonize/runs/{finished['id']}/download",
        f"/harmonize/jobs/{submitted['id']}",
        f"/mappings/{finished['mapping_version_id']}",
    ):
        assert api.get(path, headers=theirs).status_code == 404
    for path in ("/harmonize/runs", "/mappings", "/datasets"):
        assert api.get(path, headers=theirs).json()["items"] == []
