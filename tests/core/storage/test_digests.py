import hashlib
from pathlib import Path

import pytest

from core.errors import RefusedFileError
from core.storage.digests import digest_adapter_folder, digest_base_folder


def _adapter(folder: Path, weights: bytes = b"w") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(b"{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_an_adapter_digest_covers_config_and_weights_by_a_rule_that_anyone_can_repeat(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "a")
    lines = (
        f"adapter_config.json {hashlib.sha256(b'{}').hexdigest()}\n"
        f"adapter_model.safetensors {hashlib.sha256(b'w').hexdigest()}\n"
    )
    assert digest_adapter_folder(folder) == hashlib.sha256(lines.encode()).hexdigest()


def test_other_files_beside_an_adapter_do_not_change_its_digest(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "a")
    before = digest_adapter_folder(folder)
    (folder / "manifest.json").write_text("{}")
    assert digest_adapter_folder(folder) == before
    assert digest_adapter_folder(_adapter(tmp_path / "b", b"x")) != before


def test_a_base_digest_changes_with_each_of_its_files(tmp_path: Path) -> None:
    contents = {"config.json": b"{}", "model.safetensors": b"w"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    seen = {digest_base_folder(tmp_path)}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "model-2.safetensors"):
        (tmp_path / name).write_bytes(b"changed")
        seen.add(digest_base_folder(tmp_path))
    assert len(seen) == 5


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match=r"config\.json"):
        digest_base_folder(tmp_path)
    with pytest.raises(RefusedFileError, match=r"adapter_model\.safetensors"):
        digest_adapter_folder(tmp_path)
