"""Conversations of several turns: the last answer is learned, the turns before it are its context."""

from pathlib import Path
from typing import Any

from core.datasets.records import Example, Split
from core.training.prompts import TokenCounter, prompt_turns
from tests.core.training.tiny_base import small_spec

EARLIER = (("user", "How many clicks?"), ("assistant", "Seven."))


def conversation(number: int = 1) -> Example:
    return Example("And views?", "Nine.", Split.TRAIN, None, number, "Be brief.", EARLIER)


def test_the_turns_before_the_question_are_asked_in_their_order() -> None:
    assert [(turn["role"], turn["content"]) for turn in prompt_turns(conversation())] == [
        ("system", "Be brief."),
        *EARLIER,
        ("user", "And views?"),
    ]


def test_a_conversation_is_as_long_as_the_tokenizer_says(tiny_models: Path) -> None:
    from transformers import AutoTokenizer

    folder = tiny_models / "base" / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = prompt_turns(conversation())
    told = [*asked, {"role": "assistant", "content": "Nine."}]
    whole = len(tokenizer.apply_chat_template(told, return_dict=False))
    prompt = len(tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False))
    assert TokenCounter(folder).lengths([conversation()]) == [(whole, whole - prompt)]


def test_only_the_last_answer_of_a_conversation_is_learned(tiny_models: Path, tmp_path: Path) -> None:
    from core.engine.base import load_base
    from core.training.checkpoints import RunFolder
    from core.training.runner import build_trainer, quiet_libraries

    quiet_libraries()
    base = load_base(tiny_models / "base" / "tiny", device="cpu")
    examples = [conversation(number) for number in range(4)]
    trainer: Any = build_trainer(
        small_spec("ds"), base, RunFolder(tmp_path), examples, [], before_checkpoint=lambda: None
    )
    batch = next(iter(trainer.get_train_dataloader()))
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        read = base.tokenizer.decode(ids.tolist())
        assert "How many clicks?" in read
        assert "Seven." in read
        learned = base.tokenizer.decode([label for label in labels.tolist() if label != -100])
        assert learned == "Nine.<|end|>"
