"""Small bases and adapters on disk, made without torch, for the floors that read, compose and serve them.

| fixture        | gives                                                                          |
|----------------|--------------------------------------------------------------------------------|
| `tiny_base`    | folder of a random two-layer Llama (GQA, tied head), float32, one token a byte |
| `make_adapter` | function: seed and options → folder of a random PEFT adapter for `tiny_base`   |
| `base_facts`   | what the registry checks such an adapter against                               |
| `register`     | function: session, tenant, name, seed → registered Adapter                     |
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy.orm import Session
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from core.registry import service as registry
from core.registry.bases import BaseFacts, read_base_facts
from core.registry.package import build_manifest
from core.registry.records import Adapter, AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.tenants.records import Tenant

TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 261,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
SPECIAL_TOKENS = ["<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LAYER_SHAPES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (48, 32),
    "mlp.up_proj": (48, 32),
    "mlp.down_proj": (32, 48),
}
ALL_LINEAR = tuple(name.rpartition(".")[2] for name in LAYER_SHAPES)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    folder.mkdir()
    random = np.random.default_rng(7)
    tensors = {
        "model.embed_tokens.weight": random.normal(0, 0.2, (261, 32)),
        "model.norm.weight": np.ones(32),
    }
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        tensors |= {prefix + k + ".weight": random.normal(0, 0.15, v) for k, v in LAYER_SHAPES.items()}
        tensors |= {
            prefix + k + ".weight": np.ones(32) for k in ("input_layernorm", "post_attention_layernorm")
        }
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY_CONFIG, indent=2))
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """One token per byte, five markers and a chat template."""
    names = SPECIAL_TOKENS + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


@pytest.fixture
def make_adapter(tmp_path: Path) -> Callable[..., Path]:
    count = 0

    def make(
        seed: int = 0,
        *,
        rank: int = 4,
        alpha: float = 8.0,
        targets: Sequence[str] = ALL_LINEAR,
        layers: Sequence[int] = (0, 1),
        dtype: Any = np.float32,
        size: float = 0.2,
        folder: Path | None = None,
        **config: Any,
    ) -> Path:
        nonlocal count
        count += 1
        folder = folder or tmp_path / f"adapter-{count}"
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        tensors = {}
        for layer in layers:
            for name, (outputs, inputs) in LAYER_SHAPES.items():
                if name.rpartition(".")[2] in targets:
                    path = f"model.layers.{layer}.{name}"
                    r = next((v for k, v in config.get("rank_pattern", {}).items() if path.endswith(k)), rank)
                    prefix = f"base_model.model.{path}"
                    tensors[f"{prefix}.lora_A.weight"] = random.normal(0, size, (r, inputs)).astype(dtype)
                    tensors[f"{prefix}.lora_B.weight"] = random.normal(0, size, (outputs, r)).astype(dtype)
        save_file(tensors, folder / "adapter_model.safetensors")
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "tiny",
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": list(targets),
            "bias": "none",
            "inference_mode": True,
        }
        (folder / "adapter_config.json").write_text(json.dumps(settings | config, indent=2))
        return folder

    return make


@pytest.fixture(scope="session")
def base_facts(tiny_base: Path) -> BaseFacts:
    return read_base_facts(tiny_base, name="tiny")


@pytest.fixture
def register(
    make_adapter: Callable[..., Path], base_facts: BaseFacts, now: datetime
) -> Callable[..., Adapter]:
    def register(
        s: Session,
        tenant: Tenant,
        name: str = "alpha",
        seed: int = 0,
        *,
        folder: Path | None = None,
        type: AdapterType = AdapterType.RETAILER,
        source: AdapterSource = AdapterSource.TRAINED,
        job_id: str | None = None,
        at: datetime | None = None,
        **manifest_fields: Any,
    ) -> Adapter:
        folder = folder or make_adapter(seed)
        facts = verify_folder(folder, base=base_facts)
        manifest = build_manifest(facts, name=name, type=type, base=base_facts, now=now, **manifest_fields)
        return registry.register_adapter(
            s, tenant.id, folder=folder, manifest=manifest, source=source, job_id=job_id, now=at or now
        )

    return register
