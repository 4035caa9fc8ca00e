"""The key for pseudonyms: made once, kept for its owner alone."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.pseudonyms import KEY_FILE, key_for, pseudonym_key
from core.errors import IntegrityError, UnavailableError
from core.harmonize.records import Mapping


def mapping(op: str) -> Mapping:
    return Mapping.model_validate(
        {"rules": [{"source_field": "uid", "target": "user_id", "transform": {"op": op}}]}
    )


def test_the_key_is_random_readable_by_its_owner_alone_and_stays(tmp_path: Path) -> None:
    key = pseudonym_key(tmp_path / "home")
    path = tmp_path / "home" / KEY_FILE
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pseudonym_key(tmp_path / "home") == key
    assert pseudonym_key(tmp_path / "other") != key
    assert [each.name for each in (tmp_path / "home").iterdir()] == [KEY_FILE]


def test_all_that_ask_first_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(tmp_path / "home"), range(16)))
    assert len(keys) == 1
    assert [each.name for each in (tmp_path / "home").iterdir()] == [KEY_FILE]


def test_a_key_is_made_only_for_a_mapping_that_hashes(tmp_path: Path) -> None:
    assert key_for(mapping("string_id"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert key_for(mapping("pseudonymize"), tmp_path) == pseudonym_key(tmp_path)


def test_a_damaged_key_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(IntegrityError, match="damaged"):
        pseudonym_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == b"short"


def test_a_home_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UnavailableError, match="cannot be kept"):
        pseudonym_key(tmp_path / "file")
