"""Raw files of retailers in the library."""

import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.datasets import raw, service
from core.datasets.records import Dataset, DatasetKind
from core.datasets.registration import room_left
from core.errors import IntegrityError, InvalidInputError, QuotaExceededError
from core.harmonize.records import SourceCard
from core.storage.database import Database
from core.tenants.records import Tenant

CSV = b"Date,Campaign ID,Spend\n2026-03-01,000123456789012345,1.50\n2026-03-02,000123456789012346,2.25\n"
MB = 1 << 20


def store(folder: Path, content: bytes, **more: Any) -> raw.RawFile:
    given: dict[str, Any] = {"name": "export", "card": None, "limit_bytes": MB, **more}
    return raw.store_raw(io.BytesIO(content), datasets_dir=folder, **given)


def register(
    database: Database,
    tenant: Tenant,
    folder: Path,
    now: datetime,
    file: raw.RawFile,
    quota: int | None = None,
) -> Dataset:
    with database.transaction() as s:
        return raw.register_raw(s, tenant.id, file, datasets_dir=folder, quota_bytes=quota, now=now)


def as_parquet() -> bytes:
    content = io.BytesIO()
    pl.read_csv(CSV, infer_schema=False).write_parquet(content)
    return content.getvalue()


ROWS = pl.read_csv(CSV, infer_schema=False).to_dicts()
FORMATS = {
    "csv": CSV,
    "csv.gz": gzip.compress(CSV),
    "tsv": CSV.replace(b",", b"\t"),
    "json": json.dumps(ROWS).encode(),
    "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()),
    "parquet": as_parquet(),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_stored_under_its_digest_with_its_columns_and_rows(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path, suffix: str
) -> None:
    file = store(tmp_path / "up", FORMATS[suffix])
    made = register(sqlite_database, sqlite_tenant, tmp_path / "up", now, file)
    assert [each.name for each in (tmp_path / "up").iterdir()] == [f"{made.digest}.{suffix}"]
    assert (made.kind, made.rows, made.card["broken_rows"]) == (DatasetKind.EVENTS, 2, 0)
    assert [each["name"] for each in made.card["columns"]] == ["Date", "Campaign ID", "Spend"]
    assert made.card["format"] == suffix.removesuffix(".gz")
    assert raw.preview_raw(made, 1) == [ROWS[0]]
    assert raw.check_raw(made) == []


def test_the_card_is_the_given_one_completed_by_the_lines_above_the_header(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    content = b"Report: Daily\nTime zone: America/Chicago\nCurrency: USD\n\n" + CSV
    file = store(tmp_path / "up", content, card=SourceCard(network="North Ads", currency="CAD"))
    made = register(sqlite_database, sqlite_tenant, tmp_path / "up", now, file)
    assert raw.told_card(made) == SourceCard(network="North Ads", currency="CAD")
    card = raw.source_card_of(made)
    assert card is not None
    assert (card.network, card.currency, card.account_timezone) == ("North Ads", "CAD", "America/Chicago")
    assert made.rows == 2


def test_broken_rows_are_counted_and_named_and_stop_nothing(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    file = store(tmp_path / "up", CSV + b"2026-03-03,7\n2026-03-04,8,4.00\n")
    made = register(sqlite_database, sqlite_tenant, tmp_path / "up", now, file)
    assert (made.rows, made.card["broken_rows"]) == (3, 1)
    (problem,) = raw.check_raw(made)
    assert (problem.rule, problem.severity, problem.rows, problem.lines) == (
        "unreadable_rows",
        "warning",
        1,
        (4,),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,b\n", "no rows"),
        (b"\x1f\x8bnot gzip", "export"),
        (b"PK\x03\x04 and so on", "export"),
    ],
)
def test_a_file_that_holds_no_rows_leaves_nothing_behind(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        store(tmp_path / "up", content)
    assert list((tmp_path / "up").iterdir()) == []


def test_a_file_over_the_limit_and_one_over_the_quota_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="too large") as refusal:
        store(tmp_path / "up", CSV, limit_bytes=50, room_bytes=60)
    assert not isinstance(refusal.value, QuotaExceededError)
    with pytest.raises(QuotaExceededError, match="no room"):
        store(tmp_path / "up", CSV, room_bytes=50)
    assert list((tmp_path / "up").iterdir()) == []


def test_the_quota_counts_the_uploads_of_this_tenant_alone(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    folder = tmp_path / "up"
    shipped = tmp_path / "shipped.csv"
    shipped.write_bytes(CSV * 10)
    file = store(folder, CSV)
    quota = 2 * len(CSV)
    with database.transaction() as s:
        other = raw.RawFile("shipped", file.stored.__class__(shipped, "a" * 64, 10**9), file.entries)
        raw.register_raw(s, tenant.id, other, datasets_dir=folder, quota_bytes=quota, now=now)
        raw.register_raw(s, tenant.id, file, datasets_dir=folder, quota_bytes=quota, now=now)
        # The same file under another name takes no room of its own.
        twin = raw.RawFile("twin", file.stored, file.entries)
        raw.register_raw(s, tenant.id, twin, datasets_dir=folder, quota_bytes=quota, now=now)
        assert room_left(s, tenant.id, folder, quota) == len(CSV)
        assert room_left(s, other_tenant.id, folder, quota) == quota
    more = store(folder, CSV + b"2026-03-03,9,1.00\n")
    with pytest.raises(QuotaExceededError), database.transaction() as s:
        raw.register_raw(s, tenant.id, more, datasets_dir=folder, quota_bytes=quota, now=now)
    with database.reading() as s:
        assert {each.name for each in service.list_datasets(s, tenant.id)} == {"shipped", "export", "twin"}


def test_a_changed_file_and_a_set_of_another_kind_are_not_opened(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    made = register(sqlite_database, sqlite_tenant, tmp_path / "up", now, store(tmp_path / "up", CSV))
    path = service.dataset_path(made)
    path.write_bytes(CSV + b"2026-03-03,9,1.00\n")
    with pytest.raises(IntegrityError, match="has changed"):
        raw.preview_raw(made, 5)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        raw.check_raw(made)
    rows = "".join(json.dumps({"prompt": f"p{n}", "completion": "c"}) + "\n" for n in range(30)).encode()
    with sqlite_database.transaction() as s:
        examples = service.import_upload(
            s,
            sqlite_tenant.id,
            file=io.BytesIO(rows),
            name="set",
            adapter_type=None,
            datasets_dir=tmp_path / "up",
            limit_bytes=MB,
            now=now,
        )
    with pytest.raises(InvalidInputError, match="no raw export"):
        raw.preview_raw(examples, 5)


def test_the_library_shows_and_checks_raw_files_of_any_format(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    made = register(
        sqlite_database, sqlite_tenant, tmp_path / "up", now, store(tmp_path / "up", FORMATS["parquet"])
    )
    assert service.preview_rows(made, 5) == ROWS
    assert service.check_dataset(made) == []


def test_a_training_file_over_the_quota_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(QuotaExceededError):
        service.import_upload(
            s,
            sqlite_tenant.id,
            file=io.BytesIO(b'{"prompt": "a", "completion": "b"}\n' * 30),
            name="set",
            adapter_type=None,
            datasets_dir=tmp_path / "up",
            limit_bytes=MB,
            quota_bytes=100,
            now=now,
        )
    assert list((tmp_path / "up").iterdir()) == []
