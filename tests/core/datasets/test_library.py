"""Registering, importing, finding and reading datasets."""

import errno
import gzip
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.datasets import service
from core.datasets.records import Dataset, DatasetKind, Split
from core.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedFileError, UnavailableError
from core.settings import PROJECT_ROOT
from core.storage.database import Database
from core.storage.files import sha256_of
from core.tenants.records import Tenant

ROWS = [{"prompt": f"Harmonize {n}", "completion": f'{{"clicks":{n}}}'} for n in range(200)]


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def card_of(path: Path, **changes: object) -> dict[str, object]:
    card = {
        "name": "set",
        "title": "A set",
        "kind": "sft",
        "adapter_type": "retailer",
        "description": "Made up.",
        "simulated": True,
        "rows": 200,
        "digest": sha256_of(path),
    }
    return {**card, **changes}


def upload(
    database: Database, tenant: Tenant, folder: Path, now: datetime, raw: bytes, **changes: object
) -> Dataset:
    values = {"name": "set", "adapter_type": "retailer", "limit_bytes": 1 << 20, **changes}
    with database.transaction() as s:
        return service.import_upload(
            s,
            tenant.id,
            file=io.BytesIO(raw),
            datasets_dir=folder,
            now=now,
            **values,  # type: ignore[arg-type]
        )


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "set.jsonl"
    path.write_bytes(jsonl(ROWS))
    return path


def test_a_registered_file_is_read_where_it_lies(database, tenant, now, data_file) -> None:
    with database.transaction() as s:
        made = service.register_file(
            s, tenant.id, path=data_file, card=card_of(data_file), name="set", now=now
        )
    with database.transaction() as s:
        found = service.get(s, tenant.id, made.id)
        assert found == made == service.find_by_name(s, tenant.id, "set")
        assert service.list_datasets(s, tenant.id) == [made]
        assert service.list_datasets(s, tenant.id, kind=DatasetKind.DPO) == []
    assert service.dataset_path(found) == data_file
    examples = service.read_examples(found)
    assert [each.prompt for each in examples] == [row["prompt"] for row in ROWS]
    assert [each.line for each in examples] == list(range(1, 201))
    assert service.preview_rows(found, 2) == ROWS[:2]


def test_registering_again_gives_the_same_dataset_with_the_newer_card(
    database, tenant, now, data_file
) -> None:
    later = now + timedelta(days=1)
    with database.transaction() as s:
        first = service.register_file(
            s, tenant.id, path=data_file, card=card_of(data_file), name="set", now=now
        )
    renamed = card_of(data_file, title="A better title")
    with database.transaction() as s:
        second = service.register_file(s, tenant.id, path=data_file, card=renamed, name="set", now=later)
        assert service.list_datasets(s, tenant.id) == [second]
    assert (second.id, second.created_at, second.title) == (first.id, now, "A better title")


def test_another_tenant_finds_nothing(database, tenant, other_tenant, now, data_file) -> None:
    with database.transaction() as s:
        made = service.register_file(
            s, tenant.id, path=data_file, card=card_of(data_file), name="set", now=now
        )
        assert service.list_datasets(s, other_tenant.id) == []
        assert service.find_by_name(s, other_tenant.id, "set") is None
        with pytest.raises(NotFoundError):
            service.get(s, other_tenant.id, made.id)


def test_new_content_at_a_place_supersedes_the_old_and_back_again(
    sqlite_database, sqlite_tenant, now, data_file
) -> None:
    old_bytes = data_file.read_bytes()
    made = []
    for raw in (old_bytes, jsonl(ROWS[:100]), old_bytes):
        data_file.write_bytes(raw)
        now += timedelta(hours=1)
        with sqlite_database.transaction() as s:
            made.append(
                service.register_file(
                    s, sqlite_tenant.id, path=data_file, card=card_of(data_file), name="set", now=now
                )
            )
            assert [each.id for each in service.list_datasets(s, sqlite_tenant.id)] == [made[-1].id]
            found = service.find_by_name(s, sqlite_tenant.id, "set")
            assert found is not None
            assert found.id == made[-1].id
    assert made[0].id == made[2].id != made[1].id
    with pytest.raises(IntegrityError, match="has changed"):
        service.read_examples(made[1])


def test_a_file_inside_the_project_is_kept_by_its_relative_path(sqlite_database, sqlite_tenant, now) -> None:
    path = PROJECT_ROOT / "README.md"
    path = path if path.exists() else PROJECT_ROOT / "pyproject.toml"
    card = card_of(path, kind="reference", adapter_type=None)
    with sqlite_database.transaction() as s:
        made = service.register_file(s, sqlite_tenant.id, path=path, card=card, name="text", now=now)
    assert made.path == path.name
    assert service.dataset_path(made) == path


def test_a_damaged_file_is_refused_by_name(sqlite_database, sqlite_tenant, now, data_file) -> None:
    card = card_of(data_file)
    data_file.write_bytes(data_file.read_bytes()[:-5])
    with sqlite_database.transaction() as s:
        with pytest.raises(IntegrityError, match=r"set\.jsonl is damaged"):
            service.register_file(s, sqlite_tenant.id, path=data_file, card=card, name="set", now=now)
        with pytest.raises(NotFoundError, match=r"none\.jsonl is missing"):
            service.register_file(
                s, sqlite_tenant.id, path=data_file.with_name("none.jsonl"), card=card, name="set", now=now
            )


def test_a_changed_or_missing_file_is_noticed_when_it_is_read(
    sqlite_database, sqlite_tenant, now, data_file
) -> None:
    with sqlite_database.transaction() as s:
        made = service.register_file(
            s, sqlite_tenant.id, path=data_file, card=card_of(data_file), name="set", now=now
        )
    data_file.write_bytes(jsonl(ROWS[1:]))
    for read in (service.read_examples, service.check_dataset):
        with pytest.raises(IntegrityError, match="has changed"):
            read(made)
    data_file.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        service.preview_rows(made, 5)


def test_an_upload_is_stored_under_its_digest_and_split_by_prompt(database, tenant, now, tmp_path) -> None:
    folder = tmp_path / "uploads"
    made = upload(database, tenant, folder, now, jsonl([*ROWS, ROWS[0]]))
    assert [path.name for path in folder.iterdir()] == [f"{made.digest}.jsonl"]
    assert made.rows == 201
    assert made.card["split_by"] == "hash of the prompt"
    examples = service.read_examples(made)
    assert examples[0].split is examples[-1].split
    counts = {split: sum(each.split is split for each in examples) for split in Split}
    assert counts == {Split(name): rows for name, rows in made.card["splits"].items()}
    assert 130 <= counts[Split.TRAIN] <= 185
    assert min(counts.values()) >= 8


def test_the_same_upload_twice_is_one_dataset(sqlite_database, sqlite_tenant, now, tmp_path) -> None:
    first = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS))
    second = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS))
    other_name = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS), name="copy")
    assert first == second
    assert other_name.id != first.id
    assert len(list((tmp_path / "up").iterdir())) == 1


def test_an_upload_repairs_a_stored_file_that_was_damaged(
    sqlite_database, sqlite_tenant, now, tmp_path
) -> None:
    made = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS))
    service.dataset_path(made).write_bytes(b"damaged")
    upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS))
    assert len(service.read_examples(made)) == 200


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        (b"", InvalidInputError, "is empty"),
        (b" \n \n", RefusedFileError, "is empty"),
        (jsonl(ROWS) + b'{"prompt": "cut', InvalidInputError, "line 201"),
        (jsonl([{"question": "a", "answer": "b"}]), InvalidInputError, "answer, question"),
        (b"PK\x03\x04 and so on", RefusedFileError, "zip archive"),
        (b"\x1f\x8bnot gzip", RefusedFileError, "gzip"),
        (gzip.compress(jsonl(ROWS), mtime=0)[:-20], RefusedFileError, "gzip"),
        (b"prompt,completion\n", InvalidInputError, "no rows"),
    ],
)
def test_an_upload_that_is_no_training_set_leaves_nothing_behind(
    sqlite_database, sqlite_tenant, now, tmp_path, raw, error, words
) -> None:
    with pytest.raises(error) as caught:
        upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, raw)
    assert words in str(caught.value)
    assert ".part" not in str(caught.value)
    assert list((tmp_path / "up").iterdir()) == []
    with sqlite_database.transaction() as s:
        assert service.list_datasets(s, sqlite_tenant.id) == []


def test_an_upload_over_the_limit_is_refused_while_it_streams(
    sqlite_database, sqlite_tenant, now, tmp_path
) -> None:
    with pytest.raises(InvalidInputError, match="too large"):
        upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS), limit_bytes=1000)
    assert list((tmp_path / "up").iterdir()) == []


@pytest.mark.parametrize("name", ["", "  ", "a/b", "..\\x", "a\nb", "x" * 201, "a\x00b"])
def test_a_name_that_cannot_be_shown_is_refused(sqlite_database, sqlite_tenant, now, tmp_path, name) -> None:
    with pytest.raises(InvalidInputError, match="usable name"):
        upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS), name=name)


def test_an_unknown_adapter_type_is_refused(sqlite_database, sqlite_tenant, now, tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="adapter type"):
        upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS), adapter_type="shop")


def test_pairs_are_read_as_preferences_and_not_as_demonstrations(
    sqlite_database, sqlite_tenant, now, tmp_path
) -> None:
    pairs = [{"prompt": f"Write {n}", "chosen": f"Calm {n}.", "rejected": f"BUY {n}!!!"} for n in range(120)]
    made = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(pairs), adapter_type="brand")
    assert made.kind is DatasetKind.DPO
    assert service.read_preferences(made)[3].rejected == "BUY 3!!!"
    assert [problem.rule for problem in service.check_dataset(made)] == ["few_test_rows", "length_bias"]
    with pytest.raises(InvalidInputError, match="holds no demonstrations"):
        service.read_examples(made)


def test_two_that_register_the_same_file_at_once_get_one_dataset(database, tenant, now, data_file) -> None:
    start, card = threading.Barrier(6), card_of(data_file)

    def register(_: int) -> str:
        start.wait()
        with database.transaction() as s:
            return service.register_file(s, tenant.id, path=data_file, card=card, name="set", now=now).id

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(register, range(6)))
    with database.transaction() as s:
        assert {each.id for each in service.list_datasets(s, tenant.id)} == ids
    assert len(ids) == 1


def test_a_disk_that_refuses_is_said_plainly(sqlite_database, sqlite_tenant, now, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnavailableError, match="could not be stored"):
        upload(sqlite_database, sqlite_tenant, tmp_path / "file", now, jsonl(ROWS))


class FullDisk(io.RawIOBase):
    """An upload during which the disk fills up."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_behind(sqlite_database, sqlite_tenant, now, tmp_path) -> None:
    with sqlite_database.transaction() as s, pytest.raises(UnavailableError, match="Free some disk space"):
        service.import_upload(
            s,
            sqlite_tenant.id,
            file=FullDisk(),  # type: ignore[arg-type]
            name="set",
            adapter_type=None,
            datasets_dir=tmp_path / "up",
            limit_bytes=100,
            now=now,
        )
    assert list((tmp_path / "up").iterdir()) == []


@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(jsonl(ROWS), mtime=0),
        json.dumps(ROWS, indent=1).encode(),
        (
            "prompt,completion\n"
            + "".join(f'{r["prompt"]},"{{""clicks"":{n}}}"\n' for n, r in enumerate(ROWS))
        ).encode(),
    ],
)
def test_gzip_json_and_csv_give_the_same_examples(sqlite_database, sqlite_tenant, now, tmp_path, raw) -> None:
    plain = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, jsonl(ROWS))
    other = upload(sqlite_database, sqlite_tenant, tmp_path / "up", now, raw)
    found = [replace(each, line=0) for each in service.read_examples(other)]
    assert found == [replace(each, line=0) for each in service.read_examples(plain)]
    assert service.dataset_path(other).suffix in (".gz", ".json", ".csv")
