"""The base model in models/base: what its card says, and what it can do without an adapter."""

import json
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.demo.corpus import base_corpus
from core.demo.exercises import EXERCISES
from core.training.pretrain import corpus_digest

FOLDER = Path(__file__).parents[3] / "models" / "base" / "rmn-tiny-llama"


def test_the_shipped_base_is_small_safe_and_described():
    names = {path.name for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl", ".py")) for name in names)
    assert (FOLDER / "model.safetensors").stat().st_size <= 25_000_000
    assert "not for\nproduction" in (FOLDER / "README.md").read_text(encoding="utf-8").replace("**", "")


def test_the_corpus_is_still_the_one_that_the_card_names():
    card = json.loads((FOLDER / "base_card.json").read_text(encoding="utf-8"))
    assert corpus_digest(base_corpus().documents) == card["corpus_digest"]


def test_the_loss_fell_to_what_the_card_says():
    card = json.loads((FOLDER / "base_card.json").read_text(encoding="utf-8"))
    curve = json.loads((FOLDER / "loss_curve.json").read_text(encoding="utf-8"))
    assert curve[-1]["step"] == card["steps"]
    assert curve[-1]["loss"] == pytest.approx(card["final_loss"], abs=0.01)
    assert curve[-1]["loss"] < 0.05 * curve[0]["loss"]


def test_the_base_reads_short_records_of_retailers_that_it_never_saw():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    rng = Random("never seen")
    asked = [EXERCISES["fresh_code"](base_corpus().known, rng) for _ in range(24)]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        for question, _ in asked
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    made = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=40,
        do_sample=False,
    )
    said = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(one == answer for one, (_, answer) in zip(said, asked, strict=True))
    assert right >= 20
