"""Versions: new files for every change, one of them current, undo, and what differs between two."""

import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.datasets import changes, service
from core.datasets.builders import brand_example, task_example, typed_argument
from core.datasets.fixes import as_lines
from core.datasets.records import Dataset
from core.datasets.split_plan import SplitBy, SplitPlan
from core.datasets.versions import diff_files
from core.errors import InvalidInputError, QuotaExceededError
from core.storage.database import Database
from core.storage.files import sha256_of
from core.tenants.records import Tenant

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Harmonize: Retailer {'AB'[n % 2]} id={n}", "completion": f'{{"clicks":{n}}}'}
    for n in range(100)
]
SPOILED = [*ROWS, ROWS[0], {"prompt": "Harmonize: mail=ann@example.org", "completion": '{"clicks":1}'}]


@pytest.fixture
def dataset(database: Database, tenant: Tenant, tmp_path: Path, now: datetime) -> Dataset:
    with database.transaction() as s:
        return service.import_upload(
            s,
            tenant.id,
            file=io.BytesIO(as_lines(SPOILED)),
            name="spring",
            adapter_type="retailer",
            datasets_dir=tmp_path / "sets",
            limit_bytes=1 << 20,
            now=now,
        )


def mended(
    database: Database, tenant: Tenant, of: Dataset, rule: str, folder: Path, now: datetime
) -> Dataset:
    done = changes.mend_dataset(of, rule)
    with database.transaction() as s:
        return changes.store_mended(s, tenant.id, of, done, place=(folder, 1 << 20, None), now=now)


def test_a_fix_makes_a_new_version_and_undo_brings_the_old_one_back(
    database: Database, tenant: Tenant, dataset: Dataset, tmp_path: Path, now: datetime
) -> None:
    later = now + timedelta(minutes=1)
    made = mended(database, tenant, dataset, "duplicate_rows", tmp_path / "sets", later)
    assert made.rows == 101
    assert made.card["parent"] == dataset.id
    assert sha256_of(service.dataset_path(dataset)) == dataset.digest
    with database.reading() as s:
        assert [d.id for d in service.list_datasets(s, tenant.id)] == [made.id]
        versions = changes.list_versions(s, tenant.id, made)
    assert [(v.number, v.current) for v in versions] == [(2, True), (1, False)]
    assert versions[0].change == "Repeats removed (duplicate_rows): 1 row removed"
    with database.transaction() as s:
        assert changes.make_current(s, tenant.id, dataset).id == dataset.id
    with database.reading() as s:
        current = service.find_by_name(s, tenant.id, "spring")
        assert current is not None
        assert current.id == dataset.id
        assert len(changes.list_versions(s, tenant.id, dataset)) == 2


def test_what_went_is_listed_but_not_what_is_secret(
    database: Database, tenant: Tenant, dataset: Dataset, tmp_path: Path, now: datetime
) -> None:
    folder = tmp_path / "sets"
    made = mended(database, tenant, dataset, "duplicate_rows", folder, now)
    listed = [
        json.loads(line) for line in (folder / made.card["change"]["listed_in"]).read_text().splitlines()
    ]
    assert listed == [{"line": 101, "removed": True, "before": SPOILED[100], "after": None}]
    masked = mended(database, tenant, made, "personal_data", folder, now + timedelta(minutes=1))
    text = (folder / masked.card["change"]["listed_in"]).read_text()
    assert json.loads(text) == {"line": 101, "removed": False}
    assert "ann@example.org" not in service.dataset_path(masked).read_text()


def test_registering_the_shipped_file_again_does_not_undo_a_version(
    database: Database, tenant: Tenant, dataset: Dataset, tmp_path: Path, now: datetime
) -> None:
    made = mended(database, tenant, dataset, "duplicate_rows", tmp_path / "sets", now + timedelta(minutes=1))
    with database.transaction() as s:
        service.register_file(
            s,
            tenant.id,
            path=service.dataset_path(dataset),
            card=None,
            name="spring",
            now=now + timedelta(hours=1),
        )
    with database.reading() as s:
        assert [d.id for d in service.list_datasets(s, tenant.id)] == [made.id]


def test_a_split_is_a_version_whose_rows_say_where_they_belong(
    database: Database, tenant: Tenant, dataset: Dataset, tmp_path: Path, now: datetime
) -> None:
    with database.transaction() as s:
        clean = service.import_upload(
            s,
            tenant.id,
            file=io.BytesIO(as_lines(ROWS)),
            name="clean",
            adapter_type="retailer",
            datasets_dir=tmp_path / "sets",
            limit_bytes=1 << 20,
            now=now,
        )
    plan = SplitPlan(by=SplitBy.RETAILER, seed=3)
    outcome = changes.plan_split(clean, plan)
    with database.transaction() as s:
        made = changes.store_split(
            s, tenant.id, clean, plan, outcome, place=(tmp_path / "sets", 1 << 20, None), now=now
        )
    sides = {(e.prompt.split()[2], e.split) for e in service.read_examples(made)}
    assert len(sides) == 2
    assert made.card["split_by"] == "split column"


def test_a_version_counts_against_the_quota(
    database: Database, tenant: Tenant, dataset: Dataset, tmp_path: Path, now: datetime
) -> None:
    done = changes.mend_dataset(dataset, "duplicate_rows")
    place = (tmp_path / "sets", 1 << 20, dataset.size_bytes + 10)
    with pytest.raises(QuotaExceededError), database.transaction() as s:
        changes.store_mended(s, tenant.id, dataset, done, place=place, now=now)
    with database.reading() as s:
        assert len(changes.list_versions(s, tenant.id, dataset)) == 1


def test_examples_from_a_form_begin_a_set_and_add_to_it(
    database: Database, tenant: Tenant, tmp_path: Path, now: datetime
) -> None:
    place = (tmp_path / "sets", 1 << 20, None)
    first = [task_example(f"Spend {n} EUR", "plan_budget", {"budget": n}) for n in range(3)]
    with database.transaction() as s:
        begun = changes.add_examples(
            s, tenant.id, name="plans", adapter_type="task", examples=first, place=place, now=now
        )
        more = [task_example("Spend 9 EUR", "plan_budget", {"budget": 9})]
        grown = changes.add_examples(
            s,
            tenant.id,
            name="plans",
            adapter_type="task",
            examples=more,
            place=place,
            now=now + timedelta(minutes=1),
        )
    assert (begun.rows, grown.rows) == (3, 4)
    assert service.read_examples(grown)[-1].completion == '{"tool":"plan_budget","arguments":{"budget":9}}'
    assert grown.card["change"]["words"] == "1 example added"


@pytest.mark.parametrize(
    ("tool", "arguments"), [("Plan Budget", {}), ("plan", {"Total Budget": 1}), ("plan", {"x": float("inf")})]
)
def test_a_tool_call_that_nothing_could_run_is_refused(tool: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        task_example("Spend it", tool, arguments)


def test_copy_with_a_word_that_the_brand_avoids_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="avoids"):
        brand_example("Write about oats", "Cheap oats!", avoid=["cheap"])
    made = brand_example("Write about oats.", "Warm oats, cheaply? No: kindly.", ["warm", "calm"], ["cheap"])
    assert made.prompt == "Write about oats. Tone: warm, calm."


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1,200", "whole number", 1200),
        ("2.5", "number", 2.5),
        ("yes", "yes or no", True),
        (" a ", "text", "a"),
    ],
)
def test_a_form_field_has_its_type(text: str, kind: str, value: object) -> None:
    assert typed_argument(text, kind) == value


def test_a_form_field_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        typed_argument("many", "whole number")


def test_a_diff_says_what_became_of_every_row(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    changed = {**ROWS[5], "completion": '{"clicks":500}'}
    reworded = {**ROWS[9], "prompt": "Harmonize: Retailer B, id=9"}
    added = {"prompt": "Harmonize: new", "completion": "{}"}
    old.write_bytes(as_lines(ROWS[:20]))
    rows = [*ROWS[:3], *ROWS[4:5], changed, *ROWS[6:9], reworded, *ROWS[10:20], added]
    new.write_bytes(as_lines(rows))
    told = diff_files(old, new)
    assert (told.kept, told.changed, told.removed, told.added) == (17, 2, 1, 1)
    kinds = {change.kind: change for change in told.examples}
    assert kinds["removed"].before == ROWS[3]
    assert kinds["added"].after == added


def test_a_diff_minds_repeats_and_not_the_order(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_bytes(as_lines([ROWS[0], ROWS[0], ROWS[1]]))
    new.write_bytes(as_lines([ROWS[1], ROWS[0]]))
    told = diff_files(old, new)
    assert (told.kept, told.changed, told.removed, told.added) == (2, 0, 1, 0)
