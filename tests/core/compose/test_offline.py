"""TIES, DARE and pruning on dense matrices, against PEFT's own functions where they exist and a slow oracle otherwise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.compose.offline import dare, generator, magnitude_prune, ties, trim, truncate_dense

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def random_parts(shape: tuple[int, int], count: int, seed: int) -> list[Any]:
    source = np.random.default_rng(seed)
    return [source.normal(size=shape) for _ in range(count)]


def slow_ties(deltas: Sequence[Any], density: float) -> Any:
    """The paper's three steps, one number at a time."""
    kept = int(density * deltas[0].size)
    trimmed = []
    for delta in deltas:
        order = sorted(range(delta.size), key=lambda i: -abs(delta.flat[i]))[:kept]
        trimmed.append([delta.flat[i] if i in order else 0.0 for i in range(delta.size)])
    merged = []
    for values in zip(*trimmed, strict=True):
        sign = 1 if sum(values) >= 0 else -1
        agree = [value for value in values if value * sign > 0]
        merged.append(sum(agree) / len(agree) if agree else 0.0)
    return np.array(merged).reshape(deltas[0].shape)


def torch_of(deltas: Sequence[Any]) -> Any:
    import torch

    return [torch.from_numpy(delta) for delta in deltas], torch.ones(len(deltas), dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, count=st.integers(1, 4), density=st.floats(0.05, 1.0), seed=st.integers(0, 2**32 - 1))
def test_ties_is_trim_elect_and_the_mean_of_those_that_agree(
    shape: tuple[int, int], count: int, density: float, seed: int
) -> None:
    deltas = random_parts(shape, count, seed)
    np.testing.assert_allclose(ties(deltas, density), slow_ties(deltas, density), atol=1e-12)


@pytest.mark.parametrize("density", [0.1, 0.35, 0.8])
def test_ties_and_pruning_are_those_of_peft_on_the_same_matrices(density: float) -> None:
    from peft.utils import merge_utils

    deltas = random_parts((24, 40), 3, seed=5)
    tensors, ones = torch_of(deltas)
    expected = merge_utils.ties(tensors, ones, density).numpy()
    np.testing.assert_allclose(ties(deltas, density), expected, atol=1e-12)
    pruned = merge_utils.magnitude_prune(tensors, ones, density).numpy()
    np.testing.assert_allclose(magnitude_prune(deltas, density), pruned, atol=1e-12)


def test_a_negative_weight_takes_part_in_the_election_with_its_sign() -> None:
    one = np.array([[3.0, 1.0, -2.0]])
    np.testing.assert_allclose(ties([one, -2 * one], 1.0), [[-6.0, -2.0, 4.0]])


def test_equal_parts_average_to_the_part_and_one_alone_is_trimmed_only() -> None:
    (delta,) = random_parts((6, 5), 1, seed=1)
    np.testing.assert_allclose(ties([delta] * 3, 1.0), delta)
    np.testing.assert_allclose(ties([delta], 0.4), trim(delta, 0.4))


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, density=st.floats(0.01, 1.0), seed=st.integers(0, 2**32 - 1))
def test_trimming_keeps_the_largest_values_and_exactly_so_many(
    shape: tuple[int, int], density: float, seed: int
) -> None:
    (delta,) = random_parts(shape, 1, seed)
    kept = trim(delta, density)
    count = int(density * delta.size)
    assert np.count_nonzero(kept) == count
    assert np.array_equal(kept[kept != 0], delta[kept != 0])
    if 0 < count < delta.size:
        assert np.abs(kept[kept != 0]).min() >= np.abs(delta[kept == 0]).max()


def test_dare_drops_at_random_by_the_seed_and_rescales_the_rest() -> None:
    deltas = random_parts((50, 60), 2, seed=3)
    draw = lambda seed: [generator(seed, place, "layer") for place in range(2)]  # noqa: E731
    found = dare(deltas, 0.3, draw(11))
    assert np.array_equal(found, dare(deltas, 0.3, draw(11)))
    assert not np.array_equal(found, dare(deltas, 0.3, draw(12)))
    masks = [generator(11, place, "layer").random((50, 60)) < 0.3 for place in range(2)]
    expected = sum(delta * mask for delta, mask in zip(deltas, masks, strict=True)) / 0.3
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert not np.array_equal(masks[0], masks[1])
    assert np.mean(masks) == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / 6000))
    np.testing.assert_allclose(dare(deltas, 1.0, draw(11)), sum(deltas), atol=1e-12)


def test_dare_has_the_mean_and_the_spread_of_pefts() -> None:
    """Each value is x/d with probability d: mean x, variance x²(1-d)/d. PEFT draws others, from the same law."""
    import torch
    from peft.utils import merge_utils

    torch.manual_seed(0)
    delta = np.full((40, 50), 2.0)
    tensors, ones = torch_of([delta])
    for density in (0.2, 0.6):
        error = 2.0 * np.sqrt((1 - density) / density)
        for found in (
            dare([delta], density, [generator(7, 0, "layer")]),
            merge_utils.dare_linear(tensors, ones, density).numpy(),
        ):
            assert found.mean() == pytest.approx(2.0, abs=5 * error / np.sqrt(2000))
            assert found.std() == pytest.approx(error, rel=0.1)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)), rank=st.integers(1, 25), seed=st.integers(0, 999)
)
def test_a_dense_matrix_loses_what_its_small_singular_values_hold(
    shape: tuple[int, int], rank: int, seed: int
) -> None:
    (delta,) = random_parts(shape, 1, seed)
    small, residual = truncate_dense(delta, rank)
    sigma = np.linalg.svd(delta, compute_uv=False)
    assert small.a.shape[0] == small.b.shape[1] == min(rank, *shape)
    assert residual == pytest.approx(np.sqrt(np.sum(sigma[rank:] ** 2)), rel=1e-7, abs=1e-9)


def test_a_large_matrix_is_cut_by_iteration_and_just_as_well() -> None:
    source = np.random.default_rng(2)
    delta = source.normal(size=(600, 40)) @ source.normal(size=(40, 700)) + 0.1 * source.normal(
        size=(600, 700)
    )
    small, residual = truncate_dense(delta, 24)
    again, _ = truncate_dense(delta, 24)
    sigma = np.linalg.svd(delta, compute_uv=False)
    assert residual == pytest.approx(np.sqrt(np.sum(sigma[24:] ** 2)), rel=1e-9)
    assert np.array_equal(small.a, again.a)
