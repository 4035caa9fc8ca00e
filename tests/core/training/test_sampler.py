from hypothesis import given
from hypothesis import strategies as st

from core.training.sampler import SimilarLengths


@given(st.lists(st.integers(1, 300), max_size=400), st.integers(1, 9), st.integers(0, 5))
def test_every_row_comes_once_in_an_epoch(lengths: list[int], batch_size: int, epoch: int):
    sampler = SimilarLengths(lengths, batch_size, seed=3)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(len(lengths)))
    assert len(sampler) == len(lengths)


def test_the_order_is_a_function_of_seed_and_epoch():
    lengths = [(7 * n) % 50 + 1 for n in range(200)]
    first, again, other = (SimilarLengths(lengths, 8, seed) for seed in (1, 1, 2))
    assert list(first) == list(again) == list(first)
    again.set_epoch(1)
    assert list(first) != list(again)
    assert list(first) != list(other)


def test_a_batch_holds_rows_of_about_one_length():
    lengths = [(37 * n) % 200 + 1 for n in range(640)]
    rows = list(SimilarLengths(lengths, 8, seed=0))
    batches = [[lengths[row] for row in rows[i : i + 8]] for i in range(0, 640, 8)]
    padded = sum(8 * max(batch) for batch in batches)
    assert sum(lengths) / padded > 0.93
    means = [sum(batch) for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)
