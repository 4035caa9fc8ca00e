import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInputError, NotFoundError, RefusedFileError
from core.registry.bases import base_folder, describe_base, linear_shapes, list_bases, read_base_facts
from core.storage.digests import digest_base_folder

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "head_dim": 16,
}


@pytest.fixture
def models_dir(tmp_path: Path, tiny_base: Path) -> Path:
    folder = tmp_path / "models" / "base" / "tiny"
    folder.mkdir(parents=True)
    for file in tiny_base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n\nA model\nfor tests.\n\nMore.")
    return tmp_path / "models"


def test_shipped_bases_are_listed_with_their_facts(models_dir: Path) -> None:
    (models_dir / "base" / "damaged").mkdir()
    (models_dir / "base" / "damaged" / "config.json").write_text("{")
    [card] = list_bases(models_dir)
    folder = models_dir / "base" / "tiny"
    assert (card.name, card.shipped, card.description) == ("tiny", True, "A model for tests.")
    assert card.digest == digest_base_folder(folder)
    layer = 32 * 32 * 2 + 16 * 32 * 2 + 48 * 32 * 3 + 2 * 32
    assert card.parameters == 261 * 32 + 32 + 2 * layer
    assert card.size_bytes == (folder / "model.safetensors").stat().st_size


def test_a_base_is_found_by_name_folder_or_id(
    models_dir: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_folder("tiny", models_dir) == models_dir / "base" / "tiny"
    assert base_folder(str(tiny_base), models_dir) == tiny_base
    assert base_folder("nobody/not-cached", models_dir) == "nobody/not-cached"
    card = describe_base("nobody/not-cached", models_dir)
    assert (card.digest, card.parameters, card.size_bytes, card.shipped) == (None, None, None, False)
    local = describe_base(str(tiny_base), models_dir)
    assert (local.shipped, local.digest) == (False, digest_base_folder(tiny_base))


@pytest.mark.parametrize(
    "source", ["missing", "..", "../..", "a/b/c", "owner/../x", "/nowhere", "a b/c", "-x/y"]
)
def test_a_base_that_is_nowhere_is_said_to_be_so(source: str, models_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no base model"):
        base_folder(source, models_dir)


@pytest.mark.parametrize("source", ["", "a\0b", "x" * 1001])
def test_a_source_that_is_no_name_is_refused(source: str, models_dir: Path) -> None:
    with pytest.raises(InvalidInputError):
        base_folder(source, models_dir)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "gpt2"},
        {**SMALL, "model_type": "llama", "hidden_size": "32"},
        {**SMALL, "model_type": "llama", "num_hidden_layers": 0},
        {"model_type": "llama", "hidden_size": 32},
    ],
)
def test_a_base_of_another_kind_or_without_its_numbers_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(RefusedFileError):
        linear_shapes(config)


def test_facts_of_a_folder_name_its_digest_and_layers(tiny_base: Path) -> None:
    facts = read_base_facts(tiny_base)
    assert (facts.name, facts.digest) == ("tiny", digest_base_folder(tiny_base))
    assert len(facts.linears) == 14
    assert facts.linears["model.layers.1.mlp.down_proj"] == (32, 48)
    assert read_base_facts(tiny_base, name="x", digest="d").digest == "d"


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"])
@pytest.mark.parametrize("change", [{}, {"num_key_value_heads": 4}, {"head_dim": None}])
def test_layers_computed_from_the_configuration_are_those_of_the_real_model(
    kind: str, change: dict[str, Any], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {k: v for k, v in (SMALL | change).items() if v is not None}
    config = AutoConfig.for_model(kind, **values, pad_token_id=0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.save_pretrained(tmp_path)
    real = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    assert linear_shapes(json.loads((tmp_path / "config.json").read_text())) == real
