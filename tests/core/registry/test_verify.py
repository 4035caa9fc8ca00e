import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from core.errors import RefusedFileError
from core.registry.bases import BaseFacts
from core.registry.verify import content_digest, verify_folder
from core.storage.safetensors_file import MAX_HEADER_BYTES, check_finite, read_float32, read_header

Make = Callable[..., Path]
WEIGHTS = "adapter_model.safetensors"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def write_raw(
    path: Path, header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None
) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(start: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    tensors = dict(load_file(folder / WEIGHTS))
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


def change_config(folder: Path, **values: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder


def test_a_sound_adapter_passes_with_its_facts(make_adapter: Make, base_facts: BaseFacts) -> None:
    folder = make_adapter(rank=4, alpha=6.0)
    facts = verify_folder(folder, base=base_facts)
    assert facts.digest == content_digest(folder)
    assert (facts.rank, len(facts.modules)) == (4, 14)
    assert facts.target_modules == tuple(
        sorted(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    )
    k = facts.modules["model.layers.1.self_attn.k_proj"]
    assert (k.inputs, k.outputs, k.rank, k.scale) == (32, 16, 4, 1.5)
    assert facts.parameters == sum(v.size for v in load_file(folder / WEIGHTS).values())
    assert facts.size_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_rank_and_alpha_patterns_and_rslora_give_the_scale_of_each_layer(
    make_adapter: Make, base_facts: BaseFacts
) -> None:
    patterns = {"rank_pattern": {"q_proj": 9, "layers.1.mlp.up_proj": 2}, "alpha_pattern": {"q_proj": 27.0}}
    facts = verify_folder(make_adapter(rank=4, alpha=8.0, **patterns), base=base_facts)
    scales = {path: (m.rank, m.scale) for path, m in facts.modules.items()}
    assert scales["model.layers.0.self_attn.q_proj"] == (9, 3.0)
    assert scales["model.layers.1.mlp.up_proj"] == (2, 4.0)
    assert scales["model.layers.0.mlp.up_proj"] == (4, 2.0)
    assert facts.rank == 9
    rslora = verify_folder(make_adapter(rank=4, alpha=8.0, use_rslora=True, **patterns), base=base_facts)
    assert rslora.modules["model.layers.0.self_attn.q_proj"].scale == 27.0 / math.sqrt(9)
    assert rslora.modules["model.layers.0.mlp.up_proj"].scale == 4.0


def test_a_part_of_the_layers_passes_when_the_configuration_says_so(
    make_adapter: Make, base_facts: BaseFacts
) -> None:
    only_q = verify_folder(make_adapter(targets=["q_proj"]), base=base_facts)
    assert set(only_q.modules) == {f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)}
    second = make_adapter(targets=["q_proj"], layers=[1], layers_to_transform=[1])
    assert set(verify_folder(second, base=base_facts).modules) == {"model.layers.1.self_attn.q_proj"}
    every = make_adapter(target_modules="all-linear")
    assert len(verify_folder(every, base=base_facts).modules) == 14


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_of_all_three_types_are_read_exactly(dtype: str, tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0, 0.0], [3.25, 1e-3, -7.0]], np.float32)
    if dtype == "bfloat16":
        stored = (values.view(np.uint32) >> 16).astype("<u2")
        expected = (stored.astype(np.uint32) << 16).view(np.float32)
        path = write_raw(tmp_path / "x.safetensors", {"x": entry(0, 12, [2, 3], "BF16")}, stored.tobytes())
    else:
        stored = values.astype(dtype)
        expected = stored.astype(np.float32)
        path = tmp_path / "x.safetensors"
        save_file({"x": stored}, path)
    tensors = read_header(path)
    check_finite(path, tensors)
    assert np.array_equal(read_float32(path, tensors["x"]), expected)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("F32", b"\x00\x00\x80\x7f"),
        ("F32", b"\x01\x00\xc0\xff"),
        ("F16", b"\x00\x7c"),
        ("F16", b"\x01\xfe"),
        ("BF16", b"\x80\x7f"),
        ("BF16", b"\x80\xff"),
        ("BF16", b"\xc0\x7f"),
    ],
)
def test_nan_and_infinity_are_found_in_every_type(dtype: str, bits: bytes, tmp_path: Path) -> None:
    data = bytes(len(bits) * 3) + bits
    path = write_raw(tmp_path / "x.safetensors", {"x": entry(0, len(data), [2, 2], dtype)}, data)
    with pytest.raises(RefusedFileError, match="NaN or infinite"):
        check_finite(path, read_header(path))


def test_one_nan_in_a_whole_adapter_is_enough(make_adapter: Make, base_facts: BaseFacts) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[f"{Q0}.lora_B.weight"][7, 1] = np.nan

    with pytest.raises(RefusedFileError, match="NaN"):
        verify_folder(change_tensors(make_adapter(), spoil), base=base_facts)


HEADERS: dict[str, tuple[dict[str, Any] | bytes, bytes, int | None]] = {
    "empty": (b"", b"", None),
    "length beyond the file": ({"x": entry(0, 4, [1, 1])}, bytes(4), 1 << 20),
    "length 2^63": ({"x": entry(0, 4, [1, 1])}, bytes(4), 1 << 63),
    "longer than 8 MB": (b"{" + b" " * MAX_HEADER_BYTES + b"}", b"", None),
    "not JSON": (b"{x", b"", None),
    "not UTF-8": (b'{"\xff": 1}', b"", None),
    "not an object": (b"[]", b"", None),
    "no tensors": ({}, b"", None),
    "deeply nested": (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"", None),
    "a name twice": (b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":1}', bytes(4), None),
    "overlap": ({"x": entry(0, 8, [2]), "y": entry(4, 12, [2])}, bytes(12), None),
    "hole": ({"x": entry(0, 4, [1]), "y": entry(8, 12, [1])}, bytes(12), None),
    "bytes behind": ({"x": entry(0, 4, [1])}, bytes(5), None),
    "cut off": ({"x": entry(0, 8, [2])}, bytes(7), None),
    "zero size": ({"x": entry(0, 0, [0, 4])}, b"", None),
    "negative shape": ({"x": entry(0, 4, [-1, -1])}, bytes(4), None),
    "shape of floats": ({"x": entry(0, 4, [1.0])}, bytes(4), None),
    "shape of booleans": ({"x": entry(0, 4, [True])}, bytes(4), None),
    "huge shape": ({"x": entry(0, 4, [1 << 40, 1 << 40])}, bytes(4), None),
    "shape against offsets": ({"x": entry(0, 8, [3])}, bytes(8), None),
    "backward offsets": ({"x": entry(4, 0, [1])}, bytes(4), None),
    "three offsets": ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, bytes(4), None),
    "unknown key": ({"x": entry(0, 4, [1]) | {"run": "me"}}, bytes(4), None),
    "missing key": ({"x": {"dtype": "F32", "shape": [1]}}, bytes(4), None),
    "unknown type": ({"x": entry(0, 4, [1], "I32")}, bytes(4), None),
    "type that is no name": ({"x": entry(0, 4, [1], ["F32"])}, bytes(4), None),  # type: ignore[arg-type]
    "entry that is no object": ({"x": 3}, bytes(4), None),
    "NaN in JSON": (b'{"x": NaN}', b"", None),
    "huge number": (b'{"x": ' + b"9" * 5000 + b"}", b"", None),
    "100,000 tensors": (
        {f"t{i}": entry(i * 4, i * 4 + 4, [1]) for i in range(100_000)},
        bytes(400_000),
        None,
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_header_is_refused(name: str, tmp_path: Path) -> None:
    header, data, length = HEADERS[name]
    with pytest.raises(RefusedFileError) as error:
        read_header(write_raw(tmp_path / WEIGHTS, header, data, length))
    assert error.value.why


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_refused_and_never_crash(data: st.DataObject, tmp_path: Path) -> None:
    good = json.dumps({"x": entry(0, 8, [2]), "y": entry(8, 16, [2, 1])}).encode()
    blob = bytearray(struct.pack("<Q", len(good)) + good + bytes(16))
    for _ in range(data.draw(st.integers(1, 6))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(blob)))
    path = tmp_path / "x.safetensors"
    path.write_bytes(bytes(blob[:cut]) + data.draw(st.binary(max_size=8)))
    try:
        tensors = read_header(path)
    except RefusedFileError:
        return
    assert sum(info.size for info in tensors.values()) + min(info.start for info in tensors.values()) == (
        path.stat().st_size
    )


def test_a_pickle_is_refused_by_its_content_and_never_run(make_adapter: Make, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    opcodes = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(f"touch {canary}")])
    folder = make_adapter()
    (folder / WEIGHTS).write_bytes(opcodes + f"touch {canary}".encode() + b"\x85R.")
    with pytest.raises(RefusedFileError, match="pickle"):
        verify_folder(folder)
    (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(RefusedFileError, match="archive"):
        verify_folder(folder)
    assert not canary.exists()


BAD_CONFIGS: dict[str, dict[str, Any]] = {
    "another method": {"peft_type": "IA3"},
    "another task": {"task_type": "SEQ_CLS"},
    "DoRA": {"use_dora": True},
    "bias": {"bias": "all"},
    "lora_bias": {"lora_bias": True},
    "whole layers": {"modules_to_save": ["embed_tokens"]},
    "code to run": {"auto_map": {"AutoModel": "evil.Model"}},
    "a class from anywhere": {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}},
    "transposed": {"fan_in_fan_out": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "replicated layers": {"layer_replication": [[0, 2]]},
    "trained tokens": {"trainable_token_indices": [1, 2]},
    "parameters": {"target_parameters": ["w"]},
    "aLoRA": {"alora_invocation_tokens": [1]},
    "a setting of tomorrow": {"use_something_new": True},
    "rank 0": {"r": 0},
    "rank true": {"r": True},
    "rank too large": {"r": 5000},
    "rank as text": {"r": "4"},
    "no rank": {"r": None},
    "another rank": {"r": 5},
    "alpha 0": {"lora_alpha": 0},
    "alpha as text": {"lora_alpha": "8"},
    "alpha huge": {"lora_alpha": 10**400},
    "rsLoRA as text": {"use_rslora": "yes"},
    "regular expression as target": {"target_modules": "(a+)+$"},
    "regular expression among targets": {"target_modules": ["(a+)+$"]},
    "no targets": {"target_modules": []},
    "targets with a number": {"target_modules": [1]},
    "a target that is not in the file": {"target_modules": ["q_proj", "k_proj"]},
    "layers excluded that are in the file": {"exclude_modules": ["q_proj"]},
    "rank pattern with an expression": {"rank_pattern": {"(a+)+$": 4}},
    "rank pattern of text": {"rank_pattern": {"q_proj": "4"}},
    "rank pattern against the file": {"rank_pattern": {"q_proj": 3}},
    "alpha pattern of nothing": {"alpha_pattern": {"q_proj": 0}},
    "pattern that is a list": {"rank_pattern": [4]},
    "layers by name": {"layers_to_transform": ["0"]},
    "fewer layers than the file": {"layers_to_transform": [0]},
    "another layers pattern": {"layers_pattern": "h"},
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_configuration_that_is_not_plain_lora_is_refused(
    name: str, make_adapter: Make, base_facts: BaseFacts
) -> None:
    folder = change_config(make_adapter(), **BAD_CONFIGS[name])
    with pytest.raises(RefusedFileError) as error:
        verify_folder(folder, base=base_facts)
    assert error.value.why


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"r": NaN}', b'{"r":4,"r":4}', b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)]
)
def test_a_configuration_that_is_not_json_is_refused(raw: bytes, make_adapter: Make) -> None:
    folder = make_adapter()
    (folder / "adapter_config.json").write_bytes(raw)
    with pytest.raises(RefusedFileError):
        verify_folder(folder)


def _shape(tensors: dict[str, Any], half: str, shape: tuple[int, int]) -> None:
    tensors[f"{Q0}.lora_{half}.weight"] = np.zeros(shape, np.float32)


BAD_TENSORS: dict[str, Callable[[dict[str, Any]], None]] = {
    "no B": lambda t: t.pop(f"{Q0}.lora_B.weight"),
    "no A": lambda t: t.pop(f"{Q0}.lora_A.weight"),
    "a whole layer missing": lambda t: [t.pop(f"{Q0}.lora_{h}.weight") for h in "AB"] and None,
    "a tensor of another kind": lambda t: t.update({f"{Q0}.lora_magnitude_vector": np.ones(32, np.float32)}),
    "a bias": lambda t: t.update({f"{Q0}.lora_B.bias": np.ones(32, np.float32)}),
    "a whole layer beside": lambda t: t.update(
        {"base_model.model.lm_head.weight": np.ones((64, 32), np.float32)}
    ),
    "an unknown layer": lambda t: t.update(
        {
            f"base_model.model.model.layers.7.self_attn.q_proj.lora_{h}.weight": np.ones(shape, np.float32)
            for h, shape in (("A", (4, 32)), ("B", (32, 4)))
        }
    ),
    "a path": lambda t: t.update({"base_model.model.../../x.lora_A.weight": np.ones((4, 32), np.float32)}),
    "wrong inputs": lambda t: _shape(t, "A", (4, 31)),
    "wrong outputs": lambda t: _shape(t, "B", (33, 4)),
    "wrong rank in A": lambda t: _shape(t, "A", (5, 32)),
    "wrong rank in B": lambda t: _shape(t, "B", (32, 5)),
    "three dimensions": lambda t: t.update({f"{Q0}.lora_A.weight": np.ones((4, 32, 1), np.float32)}),
    "integers": lambda t: t.update({f"{Q0}.lora_A.weight": np.ones((4, 32), np.int32)}),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_that_are_not_pairs_for_this_base_are_refused(
    name: str, make_adapter: Make, base_facts: BaseFacts
) -> None:
    with pytest.raises(RefusedFileError) as error:
        verify_folder(change_tensors(make_adapter(), BAD_TENSORS[name]), base=base_facts)
    assert error.value.why


def test_a_link_in_place_of_a_file_is_refused(make_adapter: Make, tmp_path: Path) -> None:
    folder = make_adapter()
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedFileError, match="regular file"):
        verify_folder(folder)
