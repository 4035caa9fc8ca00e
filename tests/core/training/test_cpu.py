"""The processor's own words, and torch's."""

from pathlib import Path

import pytest

from core.training import cpu
from core.training.bfloat16 import cpu_multiplies_bfloat16
from core.training.cpu import cpu_has_bfloat16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_bf16\n", True),
        ("flags : fpu amx_tile amx_bf16\n", True),
        ("processor : 0\nflags\t: fpu sse2 avx512f\nbugs : avx512_bf16\n", False),
        ("", False),
    ],
)
def test_the_flags_say_whether_it_multiplies_in_bfloat16(text: str, expected: bool, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert cpu_has_bfloat16(info) is expected
    assert cpu_has_bfloat16(tmp_path / "none") is False


def test_the_flags_say_what_torch_says_on_this_machine() -> None:
    assert cpu_has_bfloat16() == cpu_multiplies_bfloat16()


@pytest.mark.parametrize(
    ("asked", "parameters", "fast", "threads"),
    [
        (0, 3_280_000, True, 1),
        (0, 3_280_000, False, 2),
        (0, 8_000_000_000, True, 2),
        (0, None, True, 2),
        (3, 3_280_000, True, 3),
    ],
)
def test_a_small_base_trains_with_one_thread_where_its_products_take_no_time(
    monkeypatch: pytest.MonkeyPatch, asked: int, parameters: int | None, fast: bool, threads: int
) -> None:
    monkeypatch.setattr(cpu.os, "cpu_count", lambda: 2)
    assert cpu.training_threads(asked, parameters, fast_bfloat16=fast) == threads
