"""Faults of recomposing and swapping in PEFT, where the installed version has them, beside what happens here."""

from collections.abc import Iterator
from pathlib import Path

import peft
import pytest
import torch
import transformers

from core.storage.database import Database
from tests.core.compose.swap_bench import SwapBench, opened
from tests.core.engine.conftest import Bench, ask

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

PROMPT = [[3, 45, 60, 71, 4]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("peft"))
    yield made
    made.engine.close()


@pytest.fixture
def shop(bench: Bench, sqlite_database: Database) -> Iterator[SwapBench]:
    with opened(bench, sqlite_database) as made:
        yield made


@pytest.fixture(scope="module")
def files(bench: Bench) -> dict[str, Path]:
    return {name: bench.adapter(name).path for name in ("old", "new")}


@pytest.fixture
def peft_model(bench: Bench, files: dict[str, Path]) -> peft.PeftModel:
    plain = transformers.AutoModelForCausalLM.from_pretrained(bench.base_folder, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(plain, files["old"], adapter_name="old")
    model.load_adapter(files["new"], adapter_name="new")
    return model.eval()


def greedy(model: peft.PeftModel, **options: object) -> list[int]:
    ids = torch.tensor(PROMPT)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=None,
            pad_token_id=0,
            **options,
        )
    return out[0, ids.shape[1] :].tolist()


def test_recomposing_under_an_existing_name_keeps_the_old_mixture_in_peft_and_not_here(
    bench: Bench, shop: SwapBench, peft_model: peft.PeftModel
) -> None:
    peft_model.add_weighted_adapter(["old", "new"], [1.0, 0.0], "mix", combination_type="cat")
    peft_model.set_adapter("mix")
    first = greedy(peft_model)
    peft_model.add_weighted_adapter(["old", "new"], [0.0, 1.0], "mix", combination_type="cat")
    peft_model.set_adapter("mix")
    if greedy(peft_model) != first:
        pytest.fail("the installed PEFT does not have this fault any more: take it off the list")
    peft_model.set_adapter("new")
    assert greedy(peft_model) != first, "the new mixture would have answered something else"

    shop.register("one")
    shop.register("two")
    shop.federate("mix", ("one", 1.0), ("two", 0.0))
    before = shop.answer("mix").token_ids
    shop.federate("mix", ("one", 0.0), ("two", 1.0))
    assert shop.answer("mix").token_ids == shop.answer("two").token_ids != before


def test_a_swap_in_the_middle_of_an_answer_tears_it_in_peft_and_not_here(
    bench: Bench, shop: SwapBench, peft_model: peft.PeftModel
) -> None:
    """Another thread that sets the active adapter does it between two tokens; here that moment is chosen."""

    class SwapAtFourth(transformers.LogitsProcessor):
        def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if ids.shape[1] == len(PROMPT[0]) + 4:
                peft_model.set_adapter("new")
            return scores

    peft_model.set_adapter("new")
    new = greedy(peft_model)
    peft_model.set_adapter("old")
    old = greedy(peft_model)
    assert old != new
    torn = greedy(peft_model, logits_processor=transformers.LogitsProcessorList([SwapAtFourth()]))
    assert torn not in (old, new), "the installed PEFT does not have this fault any more"

    shop.register("amazon")
    shop.register("amazon")
    shop.swap("amazon", 1)
    whole = {version: shop.answer("amazon", version=version, tokens=40).token_ids for version in (1, 2)}
    with shop.cache.pin(shop.composition("amazon")) as handle:
        pieces = iter(bench.engine.stream(handle.composition, ask("hello", tokens=40)))
        next(pieces)
        shop.swaps._drain_s = 0.01
        assert shop.swap("amazon", 2).figures["drained"] is False
        final = [piece.final for piece in pieces][-1]
    assert final is not None
    assert final.token_ids == whole[1] != whole[2]
    assert shop.answer("amazon", tokens=40).token_ids == whole[2]
