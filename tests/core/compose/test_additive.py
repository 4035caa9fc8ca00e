from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from core.compose.additive import (
    Factors,
    concatenate,
    dense_delta,
    open_sum,
    squared_norm,
    truncate,
    weight_at,
)
from core.engine.records import WeightedAdapter
from core.errors import IntegrityError, InvalidInputError, RefusedFileError
from tests.core.compose.oracle import delta_of, frobenius, term, weighted_sum

Make = Callable[..., Path]
Terms = list[WeightedAdapter]
Q, V = "model.layers.{}.self_attn.q_proj", "model.layers.{}.self_attn.v_proj"


@pytest.fixture
def mixed_terms(make_adapter: Make) -> Terms:
    """Different ranks, patterns, rsLoRA, layers, number types; negative and zero weights; one adapter twice."""
    one = make_adapter(1, size=0.12, rank=4, alpha=6.0)
    two = make_adapter(2, size=0.12, rank=2, alpha=8.0, use_rslora=True, targets=["q_proj", "down_proj"])
    three = make_adapter(3, size=0.12, rank=3, rank_pattern={"q_proj": 6}, alpha_pattern={"k_proj": 1.0})
    half = {"layers": [1], "layers_to_transform": [1], "dtype": np.float16}
    four = make_adapter(4, size=0.12, targets=["v_proj"], **half)
    five = make_adapter(5)
    return [
        term(one, 1.0),
        term(two, -0.7),
        term(three, 0.3),
        term(four, 2.0),
        term(five, 0.0),
        term(one, 0.25),
    ]


def test_the_dense_sum_is_that_of_the_files(mixed_terms: Terms) -> None:
    expected, found = weighted_sum(mixed_terms), dense_delta(mixed_terms)
    assert found.keys() == {path for path, delta in expected.items() if np.any(delta)}
    for path in found:
        np.testing.assert_allclose(found[path], expected[path], atol=1e-12)


def test_each_adapter_takes_its_rank_once_and_only_where_it_acts(mixed_terms: Terms) -> None:
    total = open_sum(mixed_terms)
    assert total.rank(Q.format(0)) == 4 + 2 + 6
    assert total.rank(V.format(1)) == 4 + 3 + 4
    assert total.rank(V.format(0)) == 4 + 3
    assert total.shape(V.format(0)) == (16, 32)


def test_depth_segments_and_gains_act_layer_by_layer(make_adapter: Make) -> None:
    one, two = make_adapter(1), make_adapter(2, rank=2)
    terms = [
        term(one, 0.8, layers=(0, 0), gains=((Q.format(0), -0.5), (Q.format(1), 7.0))),
        term(two, 1.5, layers=(1, 1)),
        term(one, 0.1),
    ]
    expected, found = weighted_sum(terms), dense_delta(terms)
    assert found.keys() == expected.keys()
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], atol=1e-12)
    alone = delta_of(one)[Q.format(0)]
    np.testing.assert_allclose(found[Q.format(0)], (0.8 * -0.5 + 0.1) * alone, atol=1e-12)
    assert weight_at(terms[0], "lm_head") == 0.0
    assert weight_at(terms[2], "lm_head") == 0.1


def test_a_gain_of_zero_takes_the_layer_away(make_adapter: Make) -> None:
    one = make_adapter(1, targets=["q_proj", "k_proj"])
    total = open_sum([term(one, 1.0, gains=((Q.format(1), 0.0),))])
    assert Q.format(1) not in total.paths
    assert len(total.paths) == 3


def test_weights_act_linearly_and_in_any_order(make_adapter: Make) -> None:
    one, two = make_adapter(1), make_adapter(2, rank=2)
    base = dense_delta([term(one, 1.0), term(two, 0.5)])
    others = (
        (1.0, [term(two, 0.5), term(one, 1.0)]),
        (2.0, [term(one, 2.0), term(two, 1.0)]),
        (1.0, [term(one, 0.4), term(two, 0.5), term(one, 0.6)]),
    )
    for factor, terms in others:
        found = dense_delta(terms)
        for path in base:
            np.testing.assert_allclose(found[path], factor * base[path], atol=1e-12)


def test_weights_that_cancel_leave_nothing(make_adapter: Make) -> None:
    one = make_adapter(1)
    assert open_sum([term(one, 0.5), term(one, -0.5)]).paths == ()


def test_what_is_not_sound_is_refused_with_the_reason(make_adapter: Make) -> None:
    folder = make_adapter(1)
    sound = term(folder, 1.0)
    with pytest.raises(InvalidInputError, match="not a number"):
        open_sum([term(folder, float("nan"))])
    with pytest.raises(InvalidInputError, match="not a number"):
        open_sum([term(folder, 1.0, gains=((Q.format(0), float("inf")),))])
    for changed, reason in (
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ):
        with pytest.raises(RefusedFileError, match=reason):
            open_sum([term(make_adapter(2, **changed), 1.0)])
    (folder / "manifest.json").write_text('{"base_digest": "%s"}' % ("a" * 64))
    with pytest.raises(RefusedFileError, match="another base"):
        open_sum([sound], base_digest="b" * 64)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="not the one that was registered"):
        open_sum([sound])


def test_adapters_of_bases_with_other_sizes_do_not_add_up(make_adapter: Make) -> None:
    one, two = make_adapter(1, targets=["q_proj"]), make_adapter(2, targets=["q_proj"])
    weights = load_file(two / "adapter_model.safetensors")
    wide = {k: np.pad(v, ((0, 0), (0, 8))) if "lora_A" in k else v for k, v in weights.items()}
    save_file(wide, two / "adapter_model.safetensors")
    with pytest.raises(InvalidInputError, match="different bases"):
        open_sum([term(one, 1.0), term(two, 1.0)])


@settings(deadline=None, max_examples=60)
@given(
    outputs=st.integers(1, 24),
    inputs=st.integers(1, 24),
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    rank=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_for_any_shapes_and_ranks_cat_is_exact_and_the_cut_loses_what_it_says(
    outputs: int, inputs: int, ranks: list[int], rank: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    parts = [Factors(random.normal(size=(r, inputs)), random.normal(size=(outputs, r))) for r in ranks]
    expected = sum(part.b @ part.a for part in parts)
    whole = concatenate(parts)
    np.testing.assert_allclose(whole.dense, expected, atol=1e-12)
    assert squared_norm(whole) == pytest.approx(np.sum(expected**2), rel=1e-9)
    small, residual = truncate(whole, rank)
    sigma = np.linalg.svd(expected, compute_uv=False)
    assert small.a.shape[0] == small.b.shape[1] <= rank
    assert residual == pytest.approx(np.sqrt(np.sum(sigma[rank:] ** 2)), rel=1e-7, abs=1e-9)
    assert np.linalg.norm(expected - small.dense) == pytest.approx(residual, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(
            st.integers(1, 9),
            st.floats(-3, 3, allow_subnormal=False),
            st.sampled_from([None, (0, 0), (1, 1)]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_for_any_ranks_weights_and_segments_the_sum_is_that_of_the_files(
    parts: list[tuple[int, float, tuple[int, int] | None]], make_adapter: Make
) -> None:
    terms = [
        term(make_adapter(i, rank=r, targets=["q_proj", "k_proj"]), w, layers=where)
        for i, (r, w, where) in enumerate(parts)
    ]
    expected, found = weighted_sum(terms), dense_delta(terms)
    left = {path: expected[path] - found.get(path, 0) for path in expected}
    assert frobenius(left) <= 1e-12 * max(1.0, frobenius(expected))
