import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from core.compose.additive import Exported, cat_export, compress, concatenate, dense_delta, load_factors
from core.errors import InvalidInputError, RefusedFileError
from core.registry.bases import BaseFacts
from core.registry.verify import verify_folder

Make = Callable[..., Path]
Terms = list[tuple[Path, float]]


@pytest.fixture
def mixed_terms(make_adapter: Make) -> Terms:
    """Different ranks, patterns, rsLoRA, layers, number types; negative and zero weights; one adapter twice."""
    one = make_adapter(1, size=0.12, rank=4, alpha=6.0)
    return [
        (one, 1.0),
        (
            make_adapter(2, size=0.12, rank=2, alpha=8.0, use_rslora=True, targets=["q_proj", "down_proj"]),
            -0.7,
        ),
        (make_adapter(3, size=0.12, rank=3, rank_pattern={"q_proj": 6}, alpha_pattern={"k_proj": 1.0}), 0.3),
        (
            make_adapter(
                4, size=0.12, targets=["v_proj"], layers=[1], layers_to_transform=[1], dtype=np.float16
            ),
            2.0,
        ),
        (make_adapter(5), 0.0),
        (one, 0.25),
    ]


def delta_of(folder: Path) -> dict[str, Any]:
    """ΔW of a folder, straight from its files: an oracle that shares no code with the product."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = {k: v.astype(np.float64) for k, v in load_file(folder / "adapter_model.safetensors").items()}
    deltas = {}
    for name, a in tensors.items():
        if name.endswith("lora_A.weight"):
            path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = next(
                (v for k, v in config.get("alpha_pattern", {}).items() if path.endswith(k)),
                config["lora_alpha"],
            )
            r = a.shape[0]
            scale = alpha / (r**0.5 if config.get("use_rslora") else r)
            deltas[path] = scale * tensors[name.replace("lora_A", "lora_B")] @ a
    return deltas


def weighted_sum(terms: Terms) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for folder, weight in terms:
        for path, delta in delta_of(folder).items():
            total[path] = total.get(path, 0) + weight * delta
    return total


def frobenius(deltas: dict[str, Any]) -> float:
    return float(np.sqrt(sum(np.sum(d**2) for d in deltas.values())))


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {p: one.get(p, 0) - other.get(p, np.zeros(1)) for p in one.keys() | other.keys()}


def test_the_dense_sum_is_that_of_the_files(mixed_terms: Terms) -> None:
    expected, found = weighted_sum(mixed_terms), dense_delta(mixed_terms)
    assert found.keys() == expected.keys()
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], atol=1e-12)


def test_the_concatenated_adapter_is_exactly_the_weighted_sum(
    mixed_terms: Terms, tmp_path: Path, base_facts: BaseFacts
) -> None:
    made = cat_export(mixed_terms, tmp_path / "cat")
    assert frobenius(difference(delta_of(made.folder), weighted_sum(mixed_terms))) < 1e-6 * made.norm
    assert made.residual == 0
    assert made.norm == pytest.approx(frobenius(weighted_sum(mixed_terms)), rel=1e-12)
    facts = verify_folder(made.folder, base=base_facts)
    assert made.digest == facts.digest
    ranks = {path: module.rank for path, module in facts.modules.items()}
    assert ranks["model.layers.0.self_attn.q_proj"] == 4 + 2 + 6 + 4
    assert ranks["model.layers.1.self_attn.v_proj"] == 4 + 3 + 4 + 4
    assert ranks["model.layers.0.self_attn.v_proj"] == 4 + 3 + 4
    assert made.rank == facts.rank == 16
    assert {module.scale for module in facts.modules.values()} == {1.0}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for the old name
def test_the_concatenated_adapter_reloaded_in_peft_gives_the_logits_of_the_sum(
    tiny_base: Path, mixed_terms: Terms, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    merged = LlamaForCausalLM.from_pretrained(tiny_base).double()
    with torch.no_grad():
        for path, delta in weighted_sum(mixed_terms).items():
            merged.get_submodule(path).weight += torch.from_numpy(delta)
    made = cat_export(mixed_terms, tmp_path / "cat")
    plain = LlamaForCausalLM.from_pretrained(tiny_base)
    tokens = torch.randint(0, 261, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        base_logits = plain(tokens).logits
        loaded = PeftModel.from_pretrained(plain, made.folder)
        found = loaded(tokens).logits
        in_double = loaded.double()(tokens).logits
        expected = merged(tokens).logits
    assert (base_logits - expected).abs().max() > 0.1
    assert (found - expected).abs().max() <= 1e-5
    assert (in_double - expected).abs().max() <= 2e-6  # what is left is the rounding of the file to float32


@pytest.mark.parametrize("rank", [1, 3, 8, 16])
def test_the_residual_of_a_compression_is_the_one_that_was_predicted(
    rank: int, mixed_terms: Terms, tmp_path: Path, base_facts: BaseFacts
) -> None:
    made = compress(mixed_terms, rank, tmp_path / "small")
    expected = weighted_sum(mixed_terms)
    missing = difference(delta_of(made.folder), expected)
    assert frobenius(missing) == pytest.approx(made.residual, rel=1e-4, abs=1e-6 * made.norm)
    for path, value in made.residual_by_layer.items():
        sigma = np.linalg.svd(expected[path], compute_uv=False)
        assert value == pytest.approx(float(np.sqrt(np.sum(sigma[rank:] ** 2))), rel=1e-9, abs=1e-9)
        assert frobenius({path: missing[path]}) == pytest.approx(value, rel=1e-4, abs=1e-6 * made.norm)
    assert verify_folder(made.folder, base=base_facts).rank == made.rank <= rank
    assert (made.residual == 0) == (rank == 16)


def test_one_adapter_alone_with_weight_one_is_that_adapter(make_adapter: Make, tmp_path: Path) -> None:
    folder = make_adapter(1, rank=5, alpha=5.0)
    made = cat_export([(folder, 1.0)], tmp_path / "cat")
    for file in ("adapter_model.safetensors",):
        assert load_file(made.folder / file).keys() == load_file(folder / file).keys()
        for name, value in load_file(folder / file).items():
            assert np.array_equal(load_file(made.folder / file)[name], value)


def test_weights_act_linearly_and_in_any_order(make_adapter: Make) -> None:
    one, two = make_adapter(1), make_adapter(2, rank=2)
    base = dense_delta([(one, 1.0), (two, 0.5)])
    for path in base:
        np.testing.assert_allclose(dense_delta([(two, 0.5), (one, 1.0)])[path], base[path], atol=1e-12)
        np.testing.assert_allclose(dense_delta([(one, 2.0), (two, 1.0)])[path], 2 * base[path], atol=1e-12)
        np.testing.assert_allclose(
            dense_delta([(one, 0.4), (two, 0.5), (one, 0.6)])[path], base[path], atol=1e-12
        )


def test_nothing_to_export_and_bad_input_are_refused(make_adapter: Make, tmp_path: Path) -> None:
    folder = make_adapter(1)
    for terms in ([], [(folder, 0.0)]):
        with pytest.raises(InvalidInputError, match="nothing to export"):
            cat_export(terms, tmp_path / "out")
    with pytest.raises(InvalidInputError, match="not a number"):
        cat_export([(folder, float("nan"))], tmp_path / "out")
    with pytest.raises(InvalidInputError, match="at least 1"):
        compress([(folder, 1.0)], 0, tmp_path / "out")
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(RefusedFileError, match="refused"):
        cat_export([(folder, 1.0)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_of_bases_with_other_sizes_do_not_add_up(make_adapter: Make, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    one, two = make_adapter(1, targets=["q_proj"]), make_adapter(2, targets=["q_proj"])
    weights = load_file(two / "adapter_model.safetensors")
    save_file(
        {k: np.pad(v, ((0, 0), (0, 8))) if "lora_A" in k else v for k, v in weights.items()},
        two / "adapter_model.safetensors",
    )
    with pytest.raises(InvalidInputError, match="different bases"):
        concatenate([(one, 1.0), (two, 1.0)])


def test_factors_carry_the_scale(make_adapter: Make) -> None:
    folder = make_adapter(1, rank=4, alpha=10.0)
    factors = load_factors(folder)["model.layers.0.mlp.up_proj"]
    raw = load_file(folder / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.0.mlp.up_proj"
    np.testing.assert_array_equal(factors.a, raw[f"{prefix}.lora_A.weight"].astype(np.float64) * 2.5)
    np.testing.assert_array_equal(factors.b, raw[f"{prefix}.lora_B.weight"])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 9), st.floats(-3, 3, allow_subnormal=False)), min_size=1, max_size=4
    ),
    rank=st.integers(1, 12),
)
def test_for_any_ranks_and_weights_cat_is_exact_and_compress_keeps_its_word(
    parts: list[tuple[int, float]], rank: int, make_adapter: Make, tmp_path: Path
) -> None:
    terms = [(make_adapter(i, rank=r, targets=["q_proj", "k_proj"]), w) for i, (r, w) in enumerate(parts)]
    expected = weighted_sum(terms)
    if all(w == 0 for _, w in terms):
        return
    made: Exported = cat_export(terms, tmp_path / "cat")
    assert frobenius(difference(delta_of(made.folder), expected)) <= 1e-6 * made.norm + 1e-12
    small = compress(terms, rank, tmp_path / "small")
    found = frobenius(difference(delta_of(small.folder), expected))
    assert found == pytest.approx(small.residual, rel=1e-3, abs=1e-6 * made.norm + 1e-12)
