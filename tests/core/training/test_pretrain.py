import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.training.pretrain import PretrainProgress, PretrainRecipe, pack_step, train_base
from core.training.tokenizer import encode_chats, train_tokenizer

TINY = PretrainRecipe(
    hidden_size=32,
    layers=2,
    heads=2,
    feed_forward=64,
    vocabulary_size=300,
    row_tokens=64,
    rows_per_step=4,
    documents_per_step=12,
    tokenizer_documents=50,
    steps=12,
    warmup_steps=2,
    plateau_steps=6,
    compile=False,
    checkpoint_every=6,
)


def documents(start: int) -> Iterator[list[dict[str, str]]]:
    index = start
    while True:
        word = Random(index).choice(["alpha", "beta", "gamma"])
        number = str(Random(index).randrange(10, 1000))
        yield [
            {"role": "user", "content": f"Copy: {word} {number}"},
            {"role": "assistant", "content": number},
        ]
        index += 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PretrainProgress]]:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    reports: list[PretrainProgress] = []
    train_base(folder, documents, replace(TINY, steps=60, plateau_steps=40), reports.append)
    return folder, reports


def test_training_lowers_the_loss(trained: tuple[Path, list[PretrainProgress]]):
    _, reports = trained
    assert [report.step for report in reports] == list(range(1, 61))
    assert reports[-1].loss < 0.7 * reports[0].loss


def test_the_saved_folder_is_a_chat_model_in_bf16(trained: tuple[Path, list[PretrainProgress]]):
    folder, _ = trained
    weights = load_file(folder / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Copy: beta 12"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=4)
    assert answer.shape[1] > ids.shape[1]
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "base_card.json", "loss_curve.json", "chat_template.jinja", "config.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".py")) for name in names)


def test_the_card_states_steps_tokens_and_corpus(trained: tuple[Path, list[PretrainProgress]]):
    folder, reports = trained
    card = json.loads((folder / "base_card.json").read_text(encoding="utf-8"))
    assert card["steps"] == 60
    assert card["tokens"] == reports[-1].tokens
    assert len(card["corpus_digest"]) == 64
    assert card["corpus_digest"] in (folder / "README.md").read_text(encoding="utf-8")


def test_a_cut_run_continues_to_the_same_weights(tmp_path: Path):
    train_base(tmp_path / "whole", documents, TINY, lambda _: None)

    def stop_at_eight(progress: PretrainProgress) -> None:
        if progress.step == 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_base(tmp_path / "cut", documents, TINY, stop_at_eight, work_dir=tmp_path / "work")
    assert not (tmp_path / "cut").exists()
    resumed: list[int] = []
    train_base(
        tmp_path / "cut", documents, TINY, lambda p: resumed.append(p.step), work_dir=tmp_path / "work"
    )
    assert resumed == list(range(7, 13))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(value, cut[name], rtol=0, atol=2e-3)


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path):
    train_base(tmp_path / "a", documents, replace(TINY, steps=6), lambda _: None, work_dir=tmp_path / "work")
    with pytest.raises((ValueError, RuntimeError)):
        train_base(
            tmp_path / "b", documents, replace(TINY, layers=1), lambda _: None, work_dir=tmp_path / "work"
        )


def test_every_digit_is_one_token_and_text_comes_back():
    tokenizer = train_tokenizer(_first(200), 300)
    assert len(tokenizer) <= 300
    assert tokenizer.tokenize("98765") == list("98765")
    for text in ("näyttö\t12,34 — «ok»", '{"a":"b","c":1}', "  two  spaces\n"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_encoding_equals_the_chat_template_and_marks_the_assistant():
    tokenizer = train_tokenizer(_first(200), 300)
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Copy: alpha 7"},
        {"role": "assistant", "content": "7"},
        {"role": "user", "content": "Copy: beta 88"},
        {"role": "assistant", "content": "88"},
    ]
    ids, answers = encode_chats(tokenizer, [chat])[0]
    whole = tokenizer.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert ids == whole["input_ids"]
    assert answers == [bool(flag) for flag in whole["assistant_masks"]]
    said = tokenizer.decode([token for token, answer in zip(ids, answers, strict=True) if answer])
    assert said == "7<|end|>88<|end|>"


def test_packed_documents_restart_their_positions_and_fit_their_row():
    tokenizer = train_tokenizer(_first(200), 300)
    batch = pack_step(documents(0), tokenizer, TINY)
    assert batch.ids.shape == (4, 64)
    starts = (batch.positions == 0) & (batch.segments > 0)
    assert int(starts.sum()) == int(batch.segments.max(dim=1).values.sum())
    assert int(batch.answers.sum()) > 0
    assert not bool((batch.answers & (batch.segments == 0)).any())


def test_the_rate_warms_up_stays_and_decays():
    recipe = replace(TINY, steps=100, warmup_steps=10, plateau_steps=80, settle_share=0.5)
    assert recipe.rate_share(0) == pytest.approx(0.1)
    assert recipe.rate_share(50) == 1.0
    assert recipe.rate_share(80) == pytest.approx(0.5)
    assert recipe.rate_share(90) == pytest.approx(0.25)
    assert recipe.rate_share(100) == 0.0


def _first(count: int) -> list[list[dict[str, str]]]:
    stream = documents(0)
    return [next(stream) for _ in range(count)]
