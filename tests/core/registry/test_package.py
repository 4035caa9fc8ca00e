import io
import json
import socket
import stat
import struct
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedFileError
from core.registry import service
from core.registry.bases import BaseFacts
from core.registry.package import export_package, import_package, read_manifest
from core.registry.records import Adapter, AdapterSource, AdapterType, Manifest
from core.registry.verify import verify_folder
from core.storage.database import Database
from core.storage.digests import digest_adapter_folder
from core.tenants.records import Tenant

Make = Callable[..., Path]
Import = Callable[..., tuple[Path, Manifest]]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def adapters_dir(tmp_path: Path) -> Path:
    return tmp_path / "home" / "adapters"


@pytest.fixture
def take_in(adapters_dir: Path, base_facts: BaseFacts, now: datetime) -> Import:
    def take_in(source: Any, **more: Any) -> tuple[Path, Manifest]:
        arguments = {"adapters_dir": adapters_dir, "base": base_facts, "now": now, "name": "alpha"}
        return import_package(source, **(arguments | {"type": AdapterType.RETAILER} | more))

    return take_in


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return io.BytesIO(out.getvalue())


def files_of(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {prefix + file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_an_export_comes_back_with_the_same_digest_and_manifest(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    make_adapter: Make,
    take_in: Import,
    now: datetime,
    tmp_path: Path,
) -> None:
    folder, manifest = take_in(make_adapter(3), type=AdapterType.BRAND)
    told = manifest.model_copy(update={"evaluation": {"n": 9, "adapter_exact_match": 0.5}, "simulated": True})
    with sqlite_database.transaction() as s:
        adapter = service.register_adapter(
            s, sqlite_tenant.id, folder=folder, manifest=told, source=AdapterSource.IMPORTED, now=now
        )
    first = export_package(adapter, tmp_path / "one")
    assert first.name == "alpha-v1.zip"
    assert first.read_bytes() == export_package(adapter, tmp_path / "two").read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert sorted(archive.namelist()) == ["README.md", CONFIG, WEIGHTS, "manifest.json"]
        assert b"simulated" in archive.read("README.md")
    again, manifest_again = take_in(first, name=None, type=None)
    assert manifest_again == told
    assert again == folder
    assert digest_adapter_folder(again) == adapter.digest == manifest_again.digest


@pytest.mark.parametrize("prefix", ["", "my adapter/", "outer/inner/"])
def test_a_zip_of_an_adapter_without_manifest_is_taken_in(
    prefix: str, make_adapter: Make, take_in: Import, base_facts: BaseFacts, adapters_dir: Path, now: datetime
) -> None:
    source = make_adapter(1)
    files = files_of(source, prefix) | {prefix + "tokenizer.json": b"{}", "LICENSE": b"text"}
    folder, manifest = take_in(zip_of(files))
    assert folder == adapters_dir / digest_adapter_folder(source)
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", CONFIG, WEIGHTS, "manifest.json"]
    assert read_manifest(folder) == manifest
    assert (manifest.name, manifest.type, manifest.base_digest) == (
        "alpha",
        AdapterType.RETAILER,
        base_facts.digest,
    )
    assert (manifest.rank, manifest.created_at) == (4, now)
    assert list(adapters_dir.iterdir()) == [folder]


def test_a_pair_of_files_a_folder_and_a_path_are_taken_in_alike(
    make_adapter: Make, take_in: Import, tmp_path: Path
) -> None:
    source = make_adapter(1)
    expected = digest_adapter_folder(source)
    pair = io.BytesIO((source / WEIGHTS).read_bytes()), io.BytesIO((source / CONFIG).read_bytes())
    renamed = tmp_path / "download" / "weights (1).safetensors"
    renamed.parent.mkdir()
    renamed.write_bytes((source / WEIGHTS).read_bytes())
    for folder, manifest in (
        take_in(pair[0], config=pair[1]),
        take_in(source),
        take_in(source / WEIGHTS),
        take_in(renamed, config=source / CONFIG),
    ):
        assert folder.name == manifest.digest == expected


def test_the_name_and_type_given_replace_those_of_the_manifest(make_adapter: Make, take_in: Import) -> None:
    folder, _ = take_in(make_adapter(1))
    _, manifest = take_in(folder, name="beta", type=AdapterType.TASK)
    assert (manifest.name, manifest.type) == ("beta", AdapterType.TASK)
    assert read_manifest(folder) == manifest


def test_many_that_take_in_the_same_adapter_at_once_all_get_it(make_adapter: Make, take_in: Import) -> None:
    source = make_adapter(1)
    with ThreadPoolExecutor(8) as threads:
        folders = {folder for folder, _ in threads.map(lambda _: take_in(source), range(40))}
    assert [digest_adapter_folder(folder) for folder in folders] == [digest_adapter_folder(source)]
    [folder] = folders
    assert list(folder.parent.iterdir()) == [folder]


def test_what_is_missing_is_said(make_adapter: Make, take_in: Import, tmp_path: Path) -> None:
    source = make_adapter(1)
    for missing in ({"name": None}, {"type": None}):
        with pytest.raises(InvalidInputError, match="name and a type"):
            take_in(source, **missing)
    with pytest.raises(InvalidInputError, match="cannot be the name"):
        take_in(source, name="../x")
    with pytest.raises(RefusedFileError, match="needs its adapter_config"):
        take_in(io.BytesIO((source / WEIGHTS).read_bytes()))
    with pytest.raises(NotFoundError, match="no file"):
        take_in(tmp_path / "nowhere.zip")
    (source / CONFIG).unlink()
    with pytest.raises(RefusedFileError, match=CONFIG):
        take_in(source)


def test_an_adapter_of_another_base_is_refused_by_manifest_and_by_shape(
    make_adapter: Make, take_in: Import, base_facts: BaseFacts, adapters_dir: Path
) -> None:
    folder, _ = take_in(make_adapter(1))
    with pytest.raises(RefusedFileError, match="another base"):
        take_in(folder, base=replace(base_facts, digest="0" * 64))
    wider = {path: (o, i + 8) for path, (o, i) in base_facts.linears.items()}
    with pytest.raises(RefusedFileError, match="another base"):
        take_in(make_adapter(2), base=replace(base_facts, linears=wider))
    assert len(list(adapters_dir.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "0" * 64},
        {"rank": 9},
        {"extra": 1},
        {"type": "other"},
        {"name": ""},
        {"format": 2},
        {"dataset_digest": "x" * 5000},
        {"parents": ["\0"]},
        {"parents": ["a" * 64] * 17},
    ],
)
def test_a_manifest_that_lies_or_is_malformed_is_refused(
    change: dict[str, Any], make_adapter: Make, take_in: Import, tmp_path: Path
) -> None:
    folder, _ = take_in(make_adapter(1))
    files = files_of(folder)
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | change).encode()
    with pytest.raises(RefusedFileError, match="manifest"):
        take_in(zip_of(files))


def test_damaged_stored_files_are_not_exported_and_a_new_import_replaces_them(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    make_adapter: Make,
    take_in: Import,
    now: datetime,
    tmp_path: Path,
) -> None:
    source = make_adapter(1)
    folder, manifest = take_in(source)
    with sqlite_database.transaction() as s:
        adapter = service.register_adapter(
            s, sqlite_tenant.id, folder=folder, manifest=manifest, source=AdapterSource.IMPORTED, now=now
        )
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])
    with pytest.raises(IntegrityError, match="changed"):
        export_package(adapter, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))
    assert take_in(source)[0] == folder
    service.check_bytes(adapter)


def linked(name: str, kind: int = stat.S_IFLNK) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return io.BytesIO(out.getvalue())


def encrypted(blob: bytes) -> bytes:
    """Set the flag «encrypted» in every directory entry."""
    at, out = -1, bytearray(blob)
    while (at := blob.find(b"PK\x01\x02", at + 1)) >= 0:
        out[at + 8] |= 1
    return bytes(out)


def nul_named(blob: bytes, name: bytes) -> bytes:
    """The first letter of a file's name becomes NUL, where some readers would end the name."""
    return blob.replace(name, b"\0" + name[1:])


def overlapping(files: dict[str, bytes]) -> bytes:
    """All directory entries point to the first file."""
    blob = bytearray(zip_of(files, zipfile.ZIP_STORED).getvalue())
    at = -1
    while (at := blob.find(b"PK\x01\x02", at + 1)) >= 0:
        blob[at + 42 : at + 46] = bytes(4)
    return bytes(blob)


def longer_than_it_says(files: dict[str, bytes]) -> bytes:
    """The directory says that the weights are 100 bytes long."""
    blob = bytearray(zip_of(files).getvalue())
    at = blob.rfind(b"PK\x01\x02", 0, blob.rfind(WEIGHTS.encode()))
    blob[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(blob)


PICKLE = b"\x80\x04\x8c\x05posix."
NAMES = {
    "traversal": "../evil.json",
    "deep traversal": "a/../../evil.json",
    "absolute": "/tmp/evil.json",
    "backslash": "..\\evil.json",
    "drive": "C:evil.json",
    "percent": "..%2fevil.json",
    "control sign": "a\x01b.json",
    "bidi": "a\u202egpj.json",
    "doubled slash": "a//evil.json",
    "dot": "./evil.json",
    "too deep": "a/b/c/d/e.json",
    "too long": "a" * 300,
    "pickle by name": "training_args.bin",
    "checkpoint by name": "optimizer.pt",
    "archive by name": "more.zip",
    "archive by two suffixes": "more.tar.json",
}
CONTENTS = {
    "pickle": PICKLE,
    "old torch file": zip_of({"data.pkl": PICKLE}).getvalue(),
    "gzip": b"\x1f\x8b\x08" + bytes(50),
    "tar": b"x" * 257 + b"ustar\x0000" + bytes(300),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(50),
}


def refuses(take_in: Import, source: io.BytesIO, adapters_dir: Path) -> str:
    before = sorted(adapters_dir.parent.parent.rglob("*"))
    with pytest.raises(RefusedFileError) as error:
        take_in(source)
    assert [path for path in sorted(adapters_dir.parent.parent.rglob("*")) if path not in before] in (
        [],
        [adapters_dir.parent, adapters_dir],
    )
    return error.value.why


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_with_a_bad_name_refuses_the_whole_zip(
    name: str, make_adapter: Make, take_in: Import, adapters_dir: Path
) -> None:
    source = zip_of(files_of(make_adapter(1)) | {NAMES[name]: b"{}"})
    assert "in it twice" not in refuses(take_in, source, adapters_dir)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_pickle_or_archive_under_an_innocent_name_refuses_the_whole_zip(
    name: str, make_adapter: Make, take_in: Import, adapters_dir: Path
) -> None:
    source = zip_of(files_of(make_adapter(1)) | {"notes.txt": CONTENTS[name]})
    assert refuses(take_in, source, adapters_dir).startswith("«notes.txt» is a")


@pytest.mark.parametrize("name", CONTENTS)
def test_weights_that_are_a_pickle_or_archive_are_refused(
    name: str, make_adapter: Make, take_in: Import, adapters_dir: Path
) -> None:
    folder = make_adapter(1)
    (folder / WEIGHTS).write_bytes(CONTENTS[name])
    with pytest.raises(RefusedFileError):
        take_in(folder)
    refuses(take_in, zip_of(files_of(folder)), adapters_dir)
    with pytest.raises(RefusedFileError):
        take_in(io.BytesIO(CONTENTS[name]), config=io.BytesIO((folder / CONFIG).read_bytes()))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int, take_in: Import, adapters_dir: Path) -> None:
    assert "link or a device" in refuses(take_in, linked(CONFIG, kind), adapters_dir)


def test_zips_that_are_built_to_harm_are_refused(
    make_adapter: Make, take_in: Import, adapters_dir: Path
) -> None:
    good = files_of(make_adapter(1))
    bombs = {
        "grow more than": zip_of(good | {"zeros.txt": bytes(5 << 20)}),
        "65 entries": zip_of({f"{i}.txt": b"x" for i in range(65)}),
        "far more than": zip_of({f"{i}.txt": b"" for i in range(3000)}),
        "0 entries": zip_of({}),
        "0 files": zip_of({"a.txt": b"x"}),
        "2 files": zip_of(good | {"b/" + CONFIG: b"{}"}),
        "twice": zip_of(good | {CONFIG.upper(): b"{}"}),
        "could lead out": io.BytesIO(nul_named(zip_of(good | {"notes.txt": b"x"}).getvalue(), b"notes.txt")),
        "encrypted": io.BytesIO(encrypted(zip_of(good).getvalue())),
        "unusual way": zip_of(good, zipfile.ZIP_LZMA),
        "overlap": io.BytesIO(overlapping({"a.json": b"{}", "b.json": b"{}"})),
        "damaged": io.BytesIO(longer_than_it_says(good)),
        "without a comment": io.BytesIO(zip_of(good).getvalue()[:-1]),
    }
    for reason, source in bombs.items():
        assert reason in refuses(take_in, source, adapters_dir)
    commented = bytearray(zip_of(good).getvalue())
    commented[-2:] = b"\x05\x00"
    assert "without a comment" in refuses(take_in, io.BytesIO(commented + b"hello"), adapters_dir)


def test_a_package_over_the_size_limit_is_refused(make_adapter: Make, take_in: Import) -> None:
    source = make_adapter(1)
    for package in (zip_of(files_of(source)), source, io.BytesIO((source / WEIGHTS).read_bytes())):
        with pytest.raises(RefusedFileError, match="larger than"):
            take_in(package, limit_bytes=5000, config=source / CONFIG)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_zip_with_flipped_bytes_is_refused_or_is_the_same_adapter(
    data: st.DataObject, make_adapter: Make, take_in: Import, tmp_path: Path
) -> None:
    source = make_adapter(
        1, rank=1, targets=["q_proj"], layers=[0], layers_to_transform=[0], folder=tmp_path / "a"
    )
    blob = bytearray(zip_of(files_of(source)).getvalue())
    directory = blob.find(b"PK\x01\x02")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, len(blob) - 1), st.integers(directory, len(blob) - 1)))
        blob[at] = data.draw(st.integers(0, 255))
    try:
        _, manifest = take_in(io.BytesIO(bytes(blob)))
    except RefusedFileError:
        return
    assert manifest.digest == digest_adapter_folder(source)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for the old name
def test_an_adapter_that_peft_saved_is_taken_in_and_read_back_by_peft(
    tiny_base: Path, base_facts: BaseFacts, take_in: Import, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(tiny_base)
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules="all-linear", rank_pattern={"q_proj": 2}, task_type="CAUSAL_LM"
    )
    model = get_peft_model(base, config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "saved")
    folder, manifest = take_in(tmp_path / "saved")
    facts = verify_folder(folder, base=base_facts)
    assert (manifest.rank, facts.modules["model.layers.0.self_attn.q_proj"].scale) == (4, 3.0)
    tokens = torch.arange(12).reshape(2, 6)
    expected = model(tokens).logits
    again = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny_base), folder)
    assert torch.equal(again(tokens).logits, expected)


def test_names_of_remote_things_in_an_adapter_are_never_followed(
    make_adapter: Make, take_in: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    far = {"base_model_name_or_path": "owner/remote", "revision": "main", "auto_mapping": None}
    _, manifest = take_in(make_adapter(1, **far))
    assert manifest.base_name == "tiny"
    with pytest.raises(RefusedFileError, match="code to run"):
        take_in(make_adapter(2, auto_map={"AutoModel": "owner/remote--model.Evil"}))


def test_adapter_facts_in_the_row_are_those_of_the_files(
    sqlite_database: Database, sqlite_tenant: Tenant, make_adapter: Make, take_in: Import, now: datetime
) -> None:
    folder, manifest = take_in(make_adapter(5, rank=3))
    with sqlite_database.transaction() as s:
        adapter: Adapter = service.register_adapter(
            s, sqlite_tenant.id, folder=folder, manifest=manifest, source=AdapterSource.IMPORTED, now=now
        )
    assert (adapter.rank, adapter.digest, Path(adapter.path)) == (3, folder.name, folder)
