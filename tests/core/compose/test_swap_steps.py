"""The written steps of a swap, on all three databases."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.compose import served, swap_steps
from core.compose.store import swaps as store
from core.compose.swap_records import NEXT, ServedKind, Swap, SwapState, check_transition
from core.errors import ConflictError, IllegalTransitionError, NotFoundError
from core.registry.records import Adapter
from core.storage.database import Database
from core.tenants import audit
from core.tenants.records import Tenant

Register = Callable[..., Adapter]
KIND = ServedKind.ADAPTER


def begin(s: Any, tenant: Tenant, name: str, version: int, now: datetime) -> Swap:
    return swap_steps.begin(s, tenant.id, KIND, name, version, actor="a", now=now)


def swap_through(s: Any, tenant: Tenant, name: str, version: int, now: datetime) -> Swap:
    swap = begin(s, tenant, name, version, now)
    swap = swap_steps.move_to_canary(s, swap, {"build_ms": 1.5})
    return swap_steps.flip(s, swap, {"build_ms": 1.5}, now=now)


def test_a_name_means_what_it_was_swapped_to_and_goes_back_step_by_step(
    database: Database, tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        for seed in range(4):
            register(s, tenant, "amazon", seed=seed)
        assert served.served_version(s, tenant.id, KIND, "amazon") is None
        assert served.served_history(s, tenant.id, KIND, "amazon") == ()
        first = swap_through(s, tenant, "amazon", 1, now)
        assert (first.from_version, first.state, first.finished_at) == (4, SwapState.SERVING, now)
        swap_through(s, tenant, "amazon", 2, now)
        last = swap_through(s, tenant, "amazon", 3, now)
    with database.transaction() as s:
        assert served.served_history(s, tenant.id, KIND, "amazon") == (3, 2, 1, 4)
        for expected in (2, 1, 4):
            pointer, swap, version = swap_steps.last_swap(s, tenant.id, KIND, "amazon")
            rolled = swap_steps.roll_back(s, pointer, swap, version, {}, actor="b", now=now)
            assert (rolled.state, served.served_version(s, tenant.id, KIND, "amazon")) == (
                "rolled_back",
                expected,
            )
        with pytest.raises(ConflictError, match="nothing to roll"):
            swap_steps.last_swap(s, tenant.id, KIND, "amazon")
    with database.reading() as s:
        assert served.get_swap(s, tenant.id, last.id).reason == "Rolled back by b."
        actions = [entry.action for entry in audit.list_entries(s, tenant.id)]
        assert actions[:6] == ["swap.rolled_back"] * 3 + ["swap.served", "swap.begun", "swap.served"]
        assert audit.verify(s, tenant.id).problem is None


def test_one_name_has_one_swap_at_a_time_and_another_name_is_another_matter(
    database: Database, tenant: Tenant, other_tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        for name in ("amazon", "amazon_v2", "Amazon"):
            register(s, tenant, name, seed=1)
            register(s, tenant, name, seed=2)
        register(s, other_tenant, "amazon", seed=3)
        running = begin(s, tenant, "amazon", 1, now)
    with pytest.raises(ConflictError, match="under way"), database.transaction() as s:
        begin(s, tenant, "amazon", 2, now)
    with database.transaction() as s:
        for name in ("amazon_v2", "Amazon"):
            swap_through(s, tenant, name, 1, now)
        swap_through(s, other_tenant, "amazon", 1, now)
        assert served.served_version(s, tenant.id, KIND, "amazon") is None
        assert served.served_version(s, tenant.id, ServedKind.FEDERATION, "amazon_v2") is None
        swap_steps.fail(s, running, "gone", {}, now=now)
        swap_through(s, tenant, "amazon", 1, now)
    with pytest.raises(ConflictError, match="already"), database.transaction() as s:
        begin(s, tenant, "amazon", 1, now)
    with database.reading() as s:
        ours = served.list_swaps(s, tenant.id, name="amazon")
        assert sorted(swap.state for swap in ours) == [SwapState.FAILED, SwapState.SERVING]
        assert len(served.list_swaps(s, tenant.id)) == 4
        assert len(served.list_swaps(s, tenant.id, limit=1)) == 1
        with pytest.raises(NotFoundError):
            served.get_swap(s, other_tenant.id, running.id)


def test_a_version_that_does_not_exist_for_this_tenant_is_not_found_and_leaves_no_trace(
    database: Database, tenant: Tenant, other_tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        register(s, tenant, "amazon", seed=1)
    for owner, name, version in (
        (tenant, "amazon", 2),
        (tenant, "amazo", 1),
        (tenant, "amazon@1", 1),
        (other_tenant, "amazon", 1),
    ):
        with pytest.raises(NotFoundError), database.transaction() as s:
            begin(s, owner, name, version, now)
    with database.reading() as s:
        assert served.list_swaps(s, tenant.id) == []
        assert audit.list_entries(s, tenant.id) == []


def test_what_a_dead_process_left_half_done_has_failed_at_the_next_start(
    database: Database, tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        for name in ("one", "two", "three"):
            register(s, tenant, name, seed=1)
            register(s, tenant, name, seed=2)
        building = begin(s, tenant, "one", 1, now)
        canary = swap_steps.move_to_canary(s, begin(s, tenant, "two", 1, now), {})
        serving = swap_through(s, tenant, "three", 1, now)
    later = now + timedelta(minutes=1)
    with database.transaction() as s:
        ended = served.recover_swaps(s, later)
        assert {swap.id: swap.state for swap in ended} == {building.id: "failed", canary.id: "failed"}
        assert {swap.reason for swap in ended} == {
            "The process ended while the swap was building.",
            "The process ended while the swap was canary.",
        }
        assert served.recover_swaps(s, later) == []
        assert served.get_swap(s, tenant.id, serving.id) == serving
        assert served.served_version(s, tenant.id, KIND, "two") is None
    with pytest.raises(IllegalTransitionError), database.transaction() as s:
        swap_steps.flip(s, canary, {}, now=later)  # another process that was in the middle of it
    with database.transaction() as s:
        assert served.served_version(s, tenant.id, KIND, "two") is None
        swap_through(s, tenant, "two", 1, later)


def test_a_pointer_moves_only_from_where_it_was_seen(
    database: Database, tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        for seed in range(3):
            register(s, tenant, "amazon", seed=seed)
        swap_through(s, tenant, "amazon", 1, now)
        seen = swap_steps.last_swap(s, tenant.id, KIND, "amazon")
        swap_through(s, tenant, "amazon", 2, now)
    with pytest.raises(ConflictError, match="changed meanwhile"), database.transaction() as s:
        swap_steps.roll_back(s, *seen, {}, actor="b", now=now)
    with database.reading() as s:
        assert served.served_version(s, tenant.id, KIND, "amazon") == 2
        assert store.get(s, tenant.id, seen[1].id) == seen[1]


@pytest.mark.parametrize("before", SwapState)
def test_states_follow_each_other_only_as_written(before: SwapState) -> None:
    for after in SwapState:
        if after in NEXT[before]:
            check_transition(before, after)
        else:
            with pytest.raises(IllegalTransitionError):
                check_transition(before, after)
