import pytest
import torch
from safetensors.torch import save_file

from core.engine.memory import (
    WeightCount,
    _container_room,
    check_fits,
    count_weights,
    estimate,
    free_bytes,
    kv_bytes_per_token,
)
from core.errors import InsufficientMemoryError, RefusedFileError

EIGHT_BILLION = WeightCount(
    linear=6_979_000_000, other=1_051_000_000
)  # Llama 3.1 8B: layers; embeddings, head, norms
GIB = 1 << 30


def test_an_eight_billion_base_needs_what_is_known_about_it():
    assert estimate(EIGHT_BILLION, dtype="bfloat16", quantization="none").weights == pytest.approx(
        16.06e9, rel=0.01
    )
    assert estimate(EIGHT_BILLION, dtype="bfloat16", quantization="4bit").weights == pytest.approx(
        5.7e9, rel=0.03
    )
    assert estimate(EIGHT_BILLION, dtype="bfloat16", quantization="8bit").weights == pytest.approx(
        9.1e9, rel=0.03
    )


def test_what_does_not_fit_says_how_much_is_needed_how_much_there_is_and_what_would_fit():
    with pytest.raises(InsufficientMemoryError) as error:
        check_fits(
            "llama",
            EIGHT_BILLION,
            dtype="float32",
            quantization="none",
            free=12 * GIB,
            where="the memory of this machine",
        )
    text = str(error.value)
    assert "35.4 GB" in text
    assert "12.9 GB are free" in text
    assert "8bit would need" in text
    assert "4bit would need" in text
    assert "bfloat16 would need" not in text


def test_what_never_fits_says_so():
    with pytest.raises(InsufficientMemoryError, match="Not even 4bit"):
        check_fits(
            "llama",
            EIGHT_BILLION,
            dtype="bfloat16",
            quantization="4bit",
            free=GIB,
            where="the memory of the GPU",
        )


def test_what_fits_is_let_through():
    found = check_fits(
        "tiny", WeightCount(10, 10), dtype="float32", quantization="none", free=GIB, where="here"
    )
    assert found.weights == 80


def test_weights_are_counted_from_headers(tmp_path):
    save_file(
        {
            "model.embed_tokens.weight": torch.zeros(10, 4),
            "model.layers.0.q_proj.weight": torch.zeros(4, 4),
            "n": torch.ones(4),
        },
        tmp_path / "a.safetensors",
    )
    save_file({"model.layers.1.q_proj.weight": torch.zeros(4, 4)}, tmp_path / "b.safetensors")
    assert count_weights(tmp_path) == WeightCount(linear=32, other=44)


@pytest.mark.parametrize("data", [b"", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": {}}'])
def test_a_damaged_header_is_refused(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(RefusedFileError):
        count_weights(tmp_path)


def test_the_limit_of_a_container_counts(tmp_path):
    assert _container_room(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600\n")
    assert _container_room(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert _container_room(tmp_path) == 400
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\n")
    assert _container_room(tmp_path) == 650


def test_free_memory_of_this_machine_is_a_number():
    assert 0 < free_bytes(torch.device("cpu")) < 1 << 50


def test_keys_and_values_of_llama_8b_take_128_kib_per_token():
    class Config:
        num_hidden_layers, num_attention_heads, num_key_value_heads, hidden_size, head_dim = (
            32,
            32,
            8,
            4096,
            128,
        )

    assert kv_bytes_per_token(Config, 2) == 128 * 1024
