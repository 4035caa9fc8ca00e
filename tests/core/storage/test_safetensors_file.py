"""A file and the same bytes in memory are read, or refused, alike.

What is refused, and why, stands in tests/core/registry/test_verify.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from core.errors import RefusedFileError
from core.storage.safetensors_file import float32_values, read_float32, read_header, read_header_of

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([0.5, -2.0], dtype=np.float16)}


def outcome(read: Any) -> Any:
    try:
        return read()
    except RefusedFileError as error:
        return str(error)


def test_bytes_in_memory_give_the_tensors_of_the_file(tmp_path: Path) -> None:
    data = save(TENSORS)
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    header = read_header_of(data, path.name)
    assert header == read_header(path)
    assert set(header) == {"a", "b"}
    for name, info in header.items():
        values = float32_values(data[info.start : info.start + info.size], info)
        assert values.dtype == np.float32
        assert (values == TENSORS[name]).all()
        assert (values == read_float32(path, info)).all()
        values += 1  # a copy of one's own


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_as_the_file_is(data: st.DataObject, tmp_path: Path) -> None:
    blob = bytearray(save(TENSORS))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    blob = blob[: data.draw(st.integers(0, len(blob)))]
    path = tmp_path / "x.safetensors"
    path.write_bytes(blob)
    assert outcome(lambda: read_header_of(bytes(blob), path.name)) == outcome(lambda: read_header(path))


@pytest.mark.parametrize("data", [b"", b"\x80\x04x", b"PK\x03\x04", b"\xff" * 20])
def test_what_is_no_safetensors_is_refused_by_the_name_it_was_given(data: bytes) -> None:
    with pytest.raises(RefusedFileError, match=r"weights\.bin"):
        read_header_of(data, "weights.bin")
