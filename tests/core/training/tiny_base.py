"""A random base with a tokenizer and a chat template, and small sets for it: real parts, seconds of work."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sqlalchemy.orm import Session
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from core.datasets import service as datasets
from core.datasets.records import Dataset
from core.jobs.records import Job
from core.settings import Settings
from core.storage.database import Database
from core.training import service
from core.training.presets import plan_spec
from core.training.records import TrainingSpec

HIDDEN, INNER, LAYERS, HEADS, CONTEXT = 32, 48, 2, 4, 128
SPECIALS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
TEMPLATE = (
    "{%- for m in messages -%}<|{{ m.role }}|>"
    "{%- if m.role == 'assistant' -%}{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{%- else -%}{{ m.content }}<|end|>{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def make_tiny_base(models_dir: Path, name: str = "tiny", seed: int = 7) -> Path:
    """Write models_dir/base/<name>: a two-layer Llama of random weights with a byte-level tokenizer."""
    folder = models_dir / "base" / name
    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 4,
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(seed)
    tensors = {
        "model.embed_tokens.weight": random.normal(0, 0.3, (vocabulary, HIDDEN)),
        "model.norm.weight": np.ones(HIDDEN),
    }
    kv = HIDDEN // HEADS * 2
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (kv, HIDDEN),
        "self_attn.v_proj": (kv, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}{k}.weight": random.normal(0, 0.15, shape) for k, shape in shapes.items()}
        tensors |= {
            f"{prefix}{k}.weight": np.ones(HIDDEN) for k in ("input_layernorm", "post_attention_layernorm")
        }
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


def _write_tokenizer(folder: Path) -> int:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIALS, *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return len(tokens)


def small_rows(train: int = 24, validation: int = 4, test: int = 8) -> list[dict[str, object]]:
    """Rows whose answer is one of two objects: enough for a random base to learn something from."""
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    rows = []
    for i, split in enumerate(splits):
        answer = {"a": 1} if i % 2 else {"b": [2, {"c": "x"}]}
        slice_ = None if split != "test" else ("new_values" if i % 4 < 3 else "held_out_columns")
        text = json.dumps(answer, separators=(",", ":"))
        rows.append({"prompt": f"say {i}", "completion": text, "split": split, "slice": slice_})
    return rows


def write_set(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def register_small_set(
    s: Session, tenant_id: str, folder: Path, now: datetime, name: str = "small", **counts: int
) -> Dataset:
    """A registered training set of `small_rows`."""
    path = write_set(folder / f"{name}.jsonl", small_rows(**counts))
    return datasets.register_file(s, tenant_id, path=path, card=None, name=name, now=now)


def small_spec(dataset: Dataset | str, name: str = "first", **overrides: object) -> TrainingSpec:
    """A run of a few steps."""
    values = {
        "epochs": 4.0,
        "batch_size": 4,
        "learning_rate": 0.02,
        "checkpoint_every": 5,
        "max_length": 96,
        "lora": {"rank": 4, "alpha": 8.0},
    }
    return plan_spec("quick", "retailer", dataset, name, **(values | overrides))


def submit_run(
    database: Database, tenant_id: str, spec: TrainingSpec, settings: Settings, now: datetime
) -> Job:
    """Look up, prepare, submit: as every edge does it."""
    with database.reading() as s:
        known = service.look_up(s, tenant_id, spec)
    work = service.prepare(spec, known, settings=settings)
    with database.transaction() as s:
        return service.submit(s, tenant_id, work, submitted_by="tests", now=now)[0]
