"""Compositions as files: exact where they say so, with the loss that they print where not; refused with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core.compose.export import Exported, ExportMethod, export_composition
from core.compose.offline import dare, generator, magnitude_prune, ties
from core.engine.records import Composition, TokenGate
from core.errors import ConflictError, InvalidInputError, RefusedFileError
from core.registry.bases import BaseFacts
from core.registry.verify import verify_folder
from core.storage.digests import digest_base_folder
from tests.core.compose.oracle import composition, delta_of, difference, frobenius, term, weighted_sum

Make = Callable[..., Path]
Q = "model.layers.{}.self_attn.q_proj"
PEFT_WARNING = "ignore:.*is_gradient_checkpointing:FutureWarning"  # PEFT asks for the old name


@pytest.fixture
def mixed(make_adapter: Make, base_facts: BaseFacts) -> Composition:
    """Ranks and patterns, rsLoRA, a segment, a static gain, a negative and a zero weight."""
    one = make_adapter(1, size=0.12, rank=4, alpha=6.0)
    two = make_adapter(2, size=0.12, rank=2, alpha=8.0, use_rslora=True, targets=["q_proj", "down_proj"])
    three = make_adapter(3, size=0.12, rank=3, rank_pattern={"q_proj": 6}, alpha_pattern={"k_proj": 1.0})
    return composition(
        term(one, 1.0, gains=((Q.format(0), 0.5),)),
        term(two, -0.7),
        term(three, 0.6, layers=(1, 1)),
        term(make_adapter(5), 0.0),
        base_digest=base_facts.digest,
    )


@pytest.fixture
def plain(make_adapter: Make, base_facts: BaseFacts) -> Composition:
    """Two adapters of rank 3 on two kinds of layers."""
    folders = [make_adapter(i, rank=3, targets=["q_proj", "up_proj"]) for i in (1, 2)]
    return composition(term(folders[0], 0.7), term(folders[1], 0.5), base_digest=base_facts.digest)


def test_cat_is_exactly_the_weighted_sum(mixed: Composition, tmp_path: Path, base_facts: BaseFacts) -> None:
    made = export_composition(mixed, method="cat", out=tmp_path / "cat")
    expected = weighted_sum(mixed.terms)
    assert frobenius(difference(delta_of(made.folder), expected)) < 1e-6 * made.norm
    assert made.residual == made.lost_share == 0
    assert made.norm == pytest.approx(frobenius(expected), rel=1e-12)
    facts = verify_folder(made.folder, base=base_facts)
    assert made.digest == facts.digest
    ranks = {path: module.rank for path, module in facts.modules.items()}
    assert ranks[Q.format(0)] == 4 + 2
    assert ranks[Q.format(1)] == made.rank == 4 + 2 + 6
    assert {module.scale for module in facts.modules.values()} == {1.0}
    assert made.size_bytes == sum(file.stat().st_size for file in made.folder.iterdir())


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_cat_reloaded_in_plain_peft_is_token_identical(
    tiny_base: Path, mixed: Composition, tmp_path: Path
) -> None:
    """Test 8. The oracle is the merge in float64; greedy, and the logits within rounding."""
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    summed = LlamaForCausalLM.from_pretrained(tiny_base).double()
    with torch.no_grad():
        for path, delta in weighted_sum(mixed.terms).items():
            summed.get_submodule(path).weight += torch.from_numpy(np.asarray(delta))
    made = export_composition(mixed, method="cat", out=tmp_path / "cat")
    base = LlamaForCausalLM.from_pretrained(tiny_base)
    tokens = torch.randint(5, 261, (3, 12), generator=torch.Generator().manual_seed(1))
    greedy: dict[str, Any] = {
        "max_new_tokens": 24,
        "do_sample": False,
        "attention_mask": torch.ones_like(tokens),
    }
    with torch.no_grad():
        alone = base.generate(tokens, **greedy)
        loaded = PeftModel.from_pretrained(base, made.folder)
        assert (loaded(tokens).logits - summed(tokens).logits).abs().max() <= 1e-5
        found = loaded.generate(input_ids=tokens, **greedy)
        expected = summed.generate(tokens, **greedy)
    assert torch.equal(found, expected)
    assert not torch.equal(found, alone)


@pytest.mark.parametrize("rank", [1, 3, 8, 12])
def test_the_residual_of_a_compression_is_the_one_that_was_predicted(
    rank: int, mixed: Composition, tmp_path: Path, base_facts: BaseFacts
) -> None:
    """Test 9: layer by layer the tail of the singular values, in total what the files really lack."""
    made = export_composition(mixed, method="compress", rank=rank, out=tmp_path / "small")
    expected = weighted_sum(mixed.terms)
    missing = difference(delta_of(made.folder), expected)
    assert frobenius(missing) == pytest.approx(made.residual, rel=1e-4, abs=1e-6 * made.norm)
    for path, value in made.residual_by_layer.items():
        sigma = np.linalg.svd(expected[path], compute_uv=False)
        assert value == pytest.approx(float(np.sqrt(np.sum(sigma[rank:] ** 2))), rel=1e-9, abs=1e-9)
    assert verify_folder(made.folder, base=base_facts).rank == made.rank <= rank
    assert made.lost_share == pytest.approx(made.residual / made.norm)
    assert (made.lost_share < 1e-12) == (rank == 12)


def test_one_adapter_alone_with_weight_one_is_that_adapter(make_adapter: Make, tmp_path: Path) -> None:
    folder = make_adapter(1, rank=5, alpha=5.0)
    made = export_composition(composition(term(folder, 1.0)), method="cat", out=tmp_path / "cat")
    expected = load_file(folder / "adapter_model.safetensors")
    found = load_file(made.folder / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value)


def test_ties_pruning_and_dare_are_those_of_the_whole_matrices(
    plain: Composition, tmp_path: Path, base_facts: BaseFacts
) -> None:
    places = {t.adapter.digest: delta_of(t.adapter.path) for t in plain.terms}
    weights = {t.adapter.digest: t.weight for t in plain.terms}
    for method in ("ties", "magnitude_prune", "dare"):
        made = export_composition(plain, method=method, density=0.3, seed=4, rank=32, out=tmp_path / method)
        found = delta_of(made.folder)
        for path in found:
            parts = [weights[digest] * places[digest][path] for digest in sorted(places)]
            draws = [generator(4, place, path) for place in range(2)]
            expected = {
                "ties": lambda p=parts: ties(p, 0.3),
                "magnitude_prune": lambda p=parts: magnitude_prune(p, 0.3),
                "dare": lambda p=parts, d=draws: dare(p, 0.3, d),
            }[method]()
            np.testing.assert_allclose(found[path], expected, atol=1e-5)
        assert made.lost_share < 1e-6  # rank 32 holds everything
        assert verify_folder(made.folder, base=base_facts).rank == 32
        small = export_composition(plain, method=method, density=0.3, seed=4, out=tmp_path / f"{method}-6")
        lost = frobenius(difference(delta_of(small.folder), found))
        assert small.rank == 6  # what cat would need
        assert small.residual == pytest.approx(lost, rel=1e-3)
        assert small.lost_share > 0.2  # such matrices have full rank: the loss is real and it is told
        assert small.norm == pytest.approx(made.norm)


def test_the_seed_of_dare_is_kept_and_makes_another_export(plain: Composition, tmp_path: Path) -> None:
    one, same, other = (
        export_composition(plain, method="dare", seed=seed, out=tmp_path / str(i))
        for i, seed in enumerate((1, 1, 2))
    )
    assert one.key == same.key != other.key
    assert one.digest == same.digest != other.digest
    assert json.loads((other.folder / "export.json").read_text())["seed"] == other.seed == 2


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_a_merged_model_answers_like_the_sum_and_the_base_is_untouched(
    tiny_base: Path, mixed: Composition, tmp_path: Path
) -> None:
    """Test 10."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    before = digest_base_folder(tiny_base)
    made = export_composition(mixed, method="merged", out=tmp_path / "whole", base_folder=tiny_base)
    assert digest_base_folder(tiny_base) == before == mixed.base_digest
    assert (made.kind, made.rank, made.residual) == ("model", 0, 0)
    assert made.digest == digest_base_folder(made.folder) != before
    base, found = (load_file(f / "model.safetensors") for f in (tiny_base, made.folder))
    expected = weighted_sum(mixed.terms)
    assert found.keys() == base.keys()
    for name, value in base.items():
        change = expected.get(name.removesuffix(".weight"), 0)
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], (value.astype(np.float64) + change).astype(np.float32))
    tokens = torch.randint(5, 261, (2, 12), generator=torch.Generator().manual_seed(1))
    adapter = export_composition(mixed, method="cat", out=tmp_path / "cat")
    from peft import PeftModel

    with torch.no_grad():
        whole = LlamaForCausalLM.from_pretrained(made.folder)(tokens).logits
        beside = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny_base), adapter.folder)(
            tokens
        ).logits
    assert (whole - beside).abs().max() <= 1e-5
    assert AutoTokenizer.from_pretrained(made.folder).chat_template


def test_a_base_in_shards_of_bfloat16_is_merged_file_by_file(
    tiny_base: Path, plain: Composition, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file as save_torch
    from transformers import LlamaForCausalLM

    folder = tmp_path / "sharded"
    shutil.copytree(tiny_base, folder)
    (folder / "model.safetensors").unlink()
    tensors = {
        k: torch.from_numpy(v).bfloat16() for k, v in load_file(tiny_base / "model.safetensors").items()
    }
    names = sorted(tensors)
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in sorted(set(places.values())):
        save_torch({n: tensors[n] for n in names if places[n] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    moved = Composition(digest_base_folder(folder), plain.terms)
    made = export_composition(moved, method="merged", out=tmp_path / "whole", base_folder=folder)
    model = LlamaForCausalLM.from_pretrained(made.folder, dtype="auto")
    expected = weighted_sum(plain.terms)
    for path in (Q.format(0), "model.layers.1.mlp.down_proj"):
        base = tensors[f"{path}.weight"].double().numpy()
        found = model.get_submodule(path).weight.detach().double().numpy()
        np.testing.assert_allclose(found, base + expected.get(path, 0), atol=1e-7)
    assert model.dtype == torch.float32
    assert json.loads((made.folder / "config.json").read_text())["torch_dtype"] == "float32"
    assert not (made.folder / "modeling_evil.py").exists()


def test_ties_can_be_merged_without_any_loss_of_rank(
    plain: Composition, tiny_base: Path, tmp_path: Path
) -> None:
    whole = export_composition(
        plain, method="ties", density=0.3, out=tmp_path / "whole", base_folder=tiny_base
    )
    adapter = export_composition(plain, method="ties", density=0.3, rank=32, out=tmp_path / "adapter")
    base, found = (load_file(f / "model.safetensors") for f in (tiny_base, whole.folder))
    assert whole.kind == "model"
    for path, delta in delta_of(adapter.folder).items():
        np.testing.assert_allclose(found[f"{path}.weight"] - base[f"{path}.weight"], delta, atol=1e-5)


def test_what_has_no_single_weight_for_a_layer_is_refused(plain: Composition, tmp_path: Path) -> None:
    gated = Composition(plain.base_digest, plain.terms, "gated", TokenGate())
    for method in ExportMethod:
        with pytest.raises(InvalidInputError, match=r"token gate cannot be exported|needs"):
            export_composition(gated, method=method, rank=None, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "linear"}, "A and B are not averaged"),
        ({"method": "cat", "rank": 4}, "has no rank"),
        ({"method": "compress"}, "needs a rank"),
        ({"method": "compress", "rank": 0}, "from 1 to"),
        ({"method": "cat", "density": 0.5}, "drops no values"),
        ({"method": "ties", "density": 0.0}, "above 0"),
        ({"method": "dare", "density": 1.5}, "above 0"),
        ({"method": "merged"}, "needs the base"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    options: dict[str, Any], reason: str, plain: Composition, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        export_composition(plain, out=tmp_path / "out", **options)
    assert list(tmp_path.glob("*out*")) == []


def test_another_base_and_nothing_to_export_are_refused_and_leave_nothing(
    plain: Composition, make_adapter: Make, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    elsewhere = Composition("c" * 64, plain.terms)
    with pytest.raises(RefusedFileError, match="another base"):
        export_composition(elsewhere, method="merged", out=out, base_folder=tiny_base)
    for terms in ((), (term(make_adapter(1), 0.0),)):
        with pytest.raises(InvalidInputError, match="nothing to export"):
            export_composition(composition(*terms), method="cat", out=out)
    with pytest.raises(RefusedFileError, match="DoRA"):
        export_composition(composition(term(make_adapter(1, use_dora=True), 1.0)), method="cat", out=out)
    assert list(tmp_path.glob("*out*")) == []


def test_a_quantized_base_is_not_merged(plain: Composition, tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    shutil.copytree(tiny_base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    moved = Composition(digest_base_folder(folder), plain.terms)
    with pytest.raises(RefusedFileError, match="quantized"):
        export_composition(moved, method="merged", out=tmp_path / "out", base_folder=folder)


def test_the_same_export_is_answered_as_it_is_and_nothing_else_is_replaced(
    plain: Composition, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = export_composition(plain, method="cat", out=out)
    stamp = (out / "adapter_model.safetensors").stat().st_mtime_ns
    assert export_composition(plain, method="cat", out=out) == first
    assert (out / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(ConflictError, match="there already"):
        export_composition(plain, method="compress", rank=2, out=out)
    weights = load_file(out / "adapter_model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, out / "adapter_model.safetensors")
    with pytest.raises(ConflictError, match="something else"):
        export_composition(plain, method="cat", out=out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConflictError):
        export_composition(plain, method="cat", out=tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_the_key_is_that_of_the_content(plain: Composition, make_adapter: Make, tmp_path: Path) -> None:
    """Test 13: one byte, one weight, the method or a setting: another key. Other places and order: the same."""
    count = 0

    def made(what: Composition, method: str = "cat", **options: Any) -> Exported:
        nonlocal count
        count += 1
        return export_composition(what, method=method, out=tmp_path / f"out{count}", **options)

    one, two = plain.terms
    moved = tmp_path / "elsewhere"
    shutil.copytree(one.adapter.path, moved)
    base = plain.base_digest
    first = made(plain)
    again = made(composition(two, term(moved, one.weight), base_digest=base))
    split = made(composition(two, term(moved, 0.2), term(moved, 0.5), base_digest=base))
    assert (first.key, first.digest) == (again.key, again.digest) == (split.key, split.digest)
    weights = load_file(moved / "adapter_model.safetensors")
    name = min(weights)
    weights[name].flat[0] += 1e-3
    save_file(weights, moved / "adapter_model.safetensors")
    keys = {
        first.key,
        made(composition(two, term(moved, one.weight), base_digest=base)).key,
        made(composition(one, term(two.adapter.path, 0.5000001), base_digest=base)).key,
        made(composition(one, term(two.adapter.path, 0.5, layers=(0, 0)), base_digest=base)).key,
        made(plain, "compress", rank=3).key,
        made(plain, "compress", rank=2).key,
        made(plain, "ties").key,
        made(plain, "ties", density=0.3).key,
    }
    assert len(keys) == 8


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_averaging_a_and_b_apart_would_be_wrong_by_more_than_half(
    plain: Composition, tiny_base: Path
) -> None:
    """Why «linear» is not offered: PEFT's own, on the same adapters and weights."""
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    one, two = plain.terms
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny_base), one.adapter.path, "one")
    model.load_adapter(two.adapter.path, "two")
    model.add_weighted_adapter(["one", "two"], [one.weight, two.weight], "mix", combination_type="linear")
    expected, found = weighted_sum(plain.terms), {}
    for path in expected:
        layer = model.base_model.model.get_submodule(path)
        with torch.no_grad():
            found[path] = layer.get_delta_weight("mix").double().numpy()
    error = frobenius(difference(found, expected)) / frobenius(expected)
    assert error > 0.5
