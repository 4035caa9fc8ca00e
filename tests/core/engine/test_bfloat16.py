"""A base in bfloat16 on a CPU: what holds there of what holds in float32."""

from pathlib import Path

import pytest
import torch

from core.engine.base import load_base
from core.engine.local import LocalEngine
from tests.core.engine.conftest import ask, compose, linear_shapes, save_adapter, save_base

TOKENS = 10


@pytest.fixture
def served(tmp_path: Path):
    """An engine on a bfloat16 base with two adapters, float32 beside the base's own products."""
    base = load_base(save_base(tmp_path / "base"), dtype="bfloat16", device="cpu", threads=1)
    shapes = linear_shapes(base.model)
    refs = [save_adapter(tmp_path / f"adapter{i}", shapes, seed=i, scale=0.1) for i in range(2)]
    engine = LocalEngine(base, prefix_bytes=0)
    yield engine, base, refs
    engine.close()


def test_a_row_in_a_mixed_batch_of_bfloat16_answers_like_itself_alone(served) -> None:
    engine, base, refs = served
    compositions = [
        compose(base),
        compose(base, (refs[0], 1.0)),
        compose(base, (refs[0], 0.5), (refs[1], -1.0)),
    ]
    alone = [engine.generate(c, ask("north", TOKENS)) for c in compositions]
    streams = [engine.stream(c, ask("north", TOKENS)) for c in compositions]
    together = [[*stream][-1].final for stream in streams]
    for one, mixed in zip(alone, together, strict=True):
        assert mixed is not None
        # Rounding to 8 bits depends on the shape of the batch: nearly equal logits may change places, no more.
        assert one.token_facts[0].logprob == pytest.approx(mixed.token_facts[0].logprob, abs=0.1)
        assert mixed.completion_tokens == one.completion_tokens or mixed.token_ids[0] == one.token_ids[0]


def test_adapters_of_a_bfloat16_base_are_added_in_float32(served) -> None:
    engine, base, refs = served
    plain, adapted = (
        engine.generate(c, ask("north", TOKENS)) for c in (compose(base), compose(base, (refs[0], 1.0)))
    )
    none = engine.generate(compose(base, (refs[0], 1.0), (refs[0], -1.0)), ask("north", TOKENS))
    assert none.token_ids == plain.token_ids  # weights that cancel leave the base bit by bit
    assert adapted.token_ids != plain.token_ids
    assert next(base.model.parameters()).dtype == torch.bfloat16
