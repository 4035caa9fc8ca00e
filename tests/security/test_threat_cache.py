"""Threats 3, 35 and 38: one cache for all tenants, and nobody gets, loses or learns anything through it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.engine.records import AdapterRef, Composition, WeightedAdapter
from core.errors import IntegrityError
from core.storage.database import Database
from tests.core.compose.swap_bench import SwapBench, opened
from tests.core.engine.conftest import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("apart"), engine_options={"adapter_slots": 8})
    yield made
    made.engine.close()


@pytest.fixture
def shop(bench: Bench, sqlite_database: Database) -> Iterator[SwapBench]:
    with opened(bench, sqlite_database) as made:
        yield made


def test_one_name_in_two_workspaces_is_two_compositions(shop: SwapBench) -> None:
    other = shop.add_tenant("Beta Market")
    shop.register("amazon")
    shop.register("amazon", tenant=other)
    ours, theirs = shop.composition("amazon"), shop.composition("amazon", tenant=other)
    assert ours.key != theirs.key
    with shop.cache.pin(ours) as our_handle, shop.cache.pin(theirs) as their_handle:
        assert set(our_handle.adapters).isdisjoint(their_handle.adapters)


names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(digits=names, order=st.randoms(), weight=st.floats(0.1, 2.0))
def test_a_key_does_not_depend_on_order_or_folders_and_does_on_every_adapter_weight_and_base(
    digits: list[str], order: Random, weight: float
) -> None:
    def compose(folder: str, digests: list[str], base: str = "0", w: float = weight) -> Composition:
        terms = (WeightedAdapter(AdapterRef(d * 64, Path(folder) / d), w) for d in digests)
        return Composition(base * 64, tuple(terms))

    shuffled = digits.copy()
    order.shuffle(shuffled)
    key = compose("alpha", digits).key
    assert compose("beta", shuffled).key == key
    others = [
        compose("alpha", digits[1:]),
        compose("alpha", [*digits, "9"]),
        compose("alpha", digits, base="1"),
        compose("alpha", digits, w=weight * 1.0001),
    ]
    assert key not in {other.key for other in others}


def test_a_damaged_copy_in_one_workspace_does_not_fail_anothers_request_nor_its_own_pass_as_good(
    shop: SwapBench,
) -> None:
    """Equal content has one key in both workspaces; what is wrong with the files of one is not told to the other."""
    other = shop.add_tenant("Beta Market")
    ours = shop.register("amazon", seed=7)
    theirs = shop.register("amazon", seed=7, tenant=other)
    assert ours.digest == theirs.digest
    damaged, whole = shop.composition("amazon"), shop.composition("amazon", tenant=other)
    shop.corrupt(ours)
    with pytest.raises(IntegrityError):
        shop.cache.compose_sync(damaged)
    handle = shop.cache.compose_sync(whole)
    assert handle.composition.terms[0].adapter.path == Path(theirs.path)
    assert shop.cache.get_cache_stats().refused == 0


def test_who_shares_an_entry_keeps_its_own_files(shop: SwapBench) -> None:
    """The other workspace may delete its adapter: nobody was ever given its paths."""
    other = shop.add_tenant("Beta Market")
    ours = shop.register("amazon", seed=8)
    theirs = shop.register("amazon", seed=8, tenant=other)
    shop.cache.compose_sync(shop.composition("amazon", tenant=other))
    handle = shop.cache.compose_sync(shop.composition("amazon"))
    assert shop.cache.get_cache_stats().entries_held == 1
    assert handle.composition.terms[0].adapter.path == Path(ours.path)
    shutil.rmtree(theirs.path)
    shop.bench.engine.unload(ours.digest)
    assert shop.answer("amazon").token_ids


def test_a_workspace_sees_only_entries_that_consist_of_its_own_adapters(shop: SwapBench) -> None:
    other = shop.add_tenant("Beta Market")
    ours, theirs = shop.register("amazon"), shop.register("walmart", tenant=other)
    base = shop.bench.base.digest
    both = Composition(
        base, tuple(WeightedAdapter(AdapterRef(a.digest, Path(a.path)), 1.0) for a in (ours, theirs))
    )
    for composition in (shop.composition("amazon"), shop.composition("walmart", tenant=other), both):
        shop.cache.compose_sync(composition)
    stats = shop.cache.get_cache_stats()
    assert len(stats.entries) == 3
    assert [entry.adapters for entry in stats.seen_by({ours.digest}).entries] == [(ours.digest,)]
    assert stats.seen_by(set()).entries == ()


def test_bits_that_rot_after_loading_do_not_stop_what_serves_and_are_found_at_the_next_load(
    shop: SwapBench,
) -> None:
    """Threat 35: what is in memory was checked. Once it has to be read again, the damage shows."""
    adapter = shop.register("amazon")
    tokens = shop.answer("amazon").token_ids
    shop.corrupt(adapter)
    assert shop.answer("amazon").token_ids == tokens
    assert shop.cache.forget_adapter(adapter.digest) == 1
    with pytest.raises(IntegrityError):
        shop.answer("amazon")


def test_a_swap_in_one_workspace_does_not_touch_the_same_name_in_another(shop: SwapBench) -> None:
    other = shop.add_tenant("Beta Market")
    for tenant in (None, None, other, other):
        shop.register("amazon", tenant=tenant)
    before = shop.composition("amazon", tenant=other).key
    shop.swap("amazon", 1)
    shop.swap("amazon", 2, warm=False)
    assert shop.composition("amazon", tenant=other).key == before
