"""Whose turn it is: shares, priorities, deadlines, and nobody starves."""

import math
import random
import statistics
from dataclasses import dataclass

import pytest

from core.engine.schedule import FairQueue


@dataclass(eq=False)
class Asked:
    """A request as the queue sees it; `tokens` is how long its answer becomes."""

    owner: str
    submitted: float = 0.0
    tokens: int = 10
    prompt_length: int = 10
    share: float = 1.0
    priority: int = 0
    deadline: float = math.inf


def serve(queue, items, rows, until=math.inf):
    """Run `rows` at once, a token of each per tick. When each began, by item, and the tokens each owner was given."""
    coming = sorted(items, key=lambda item: item.submitted)
    running, began, given, now = [], {}, {}, 0
    while (coming or len(queue) or running) and now < until:
        while coming and coming[0].submitted <= now:
            queue.push(coming.pop(0))
        while len(running) < rows and (item := queue.peek()) is not None:
            queue.start(item)
            began[id(item)] = now
            running.append([item, item.tokens])
        for pair in running:
            queue.charge(pair[0], answer=1)
            given[pair[0].owner] = given.get(pair[0].owner, 0) + 1
            pair[1] -= 1
        for pair in [p for p in running if p[1] == 0]:
            queue.end(pair[0])
            running.remove(pair)
        now += 1
    return began, given


def test_one_hot_owner_and_31_cold_ones_wait_alike():
    chance = random.Random(3)
    hot = [Asked("hot", 0.0, chance.randint(5, 30)) for _ in range(600)]
    cold = [
        Asked(f"cold{n}", chance.uniform(0, 300), chance.randint(5, 30)) for n in range(31) for _ in range(8)
    ]
    began, _ = serve(FairQueue(), hot + cold, rows=8)
    waits = [
        statistics.mean(began[id(c)] - c.submitted for c in cold if c.owner == f"cold{n}") for n in range(31)
    ]
    assert max(waits) <= 2 * statistics.mean(waits)
    first_in_first_out = serve(
        FairQueue(), [Asked("all", i.submitted, i.tokens) for i in hot + cold], rows=8
    )[0]
    assert max(first_in_first_out.values()) == pytest.approx(
        max(began.values()), rel=0.1
    )  # nothing lies idle


def test_a_hot_owner_delays_a_newcomer_by_no_more_than_the_answers_that_run():
    hot = [Asked("hot", 0.0, 20) for _ in range(500)]
    late = [Asked("new", 205.0, 20), Asked("other", 206.0, 20)]
    began, _ = serve(FairQueue(), hot + late, rows=4)
    assert all(began[id(item)] - item.submitted <= 20 for item in late)


def test_the_share_of_an_owner_is_its_part_of_the_tokens():
    items = [Asked("big", 0.0, 10, share=3.0) for _ in range(300)] + [
        Asked("small", 0.0, 10) for _ in range(300)
    ]
    _, given = serve(FairQueue(), items, rows=4, until=400)
    assert given["big"] / given["small"] == pytest.approx(3.0, rel=0.1)


def test_long_answers_are_not_a_way_to_get_more():
    items = [Asked("long", 0.0, 50) for _ in range(100)] + [Asked("short", 0.0, 5) for _ in range(900)]
    _, given = serve(FairQueue(), items, rows=4, until=600)
    # A short answer has more prompt for each token, and prompts are paid too: 10 + 2·5 against 10 + 2·50.
    assert given["long"] / given["short"] == pytest.approx((50 / 110) / (5 / 20), rel=0.15)


def test_who_was_away_has_saved_nothing_up():
    queue = FairQueue()
    queue.push(Asked("there"))
    queue.push(Asked("away"))
    first = queue.peek()
    queue.start(first)
    queue.start(away := queue.peek())
    queue.end(away)  # away for a long time, in which the other is served
    queue.charge(first, answer=10_000)
    for _ in range(6):
        queue.push(Asked("there", 1.0))
        queue.push(Asked("away", 2.0))
    turns = []
    for _ in range(8):
        item = queue.peek()
        queue.start(item)
        queue.charge(item, answer=10)
        turns.append(item.owner)
    assert sorted(turns) == ["away"] * 4 + ["there"] * 4


def test_priority_is_within_an_owner_and_who_waits_long_enough_is_first_all_the_same():
    queue = FairQueue()
    patient = Asked("a", 0.0, priority=0)
    urgent, too_late = Asked("a", 9.0, priority=1), Asked("a", 11.0, priority=1)
    for item in (too_late, patient, urgent):
        queue.push(item)
    order = []
    while (item := queue.peek()) is not None:
        queue.start(item)
        order.append(item)
    assert order == [urgent, patient, too_late]


def test_priority_takes_nothing_from_other_owners():
    queue = FairQueue()
    queue.push(first := Asked("modest", 1.0, priority=-100))
    queue.push(Asked("greedy", 2.0, priority=100))
    assert queue.peek() is first
    queue.start(first)
    queue.push(Asked("modest", 3.0))
    assert queue.peek().owner == "greedy"


def test_who_is_late_is_taken_out_once_and_who_was_removed_never_comes_up():
    queue = FairQueue()
    late, gone, kept = Asked("a", deadline=5.0), Asked("a", deadline=5.0), Asked("b", deadline=50.0)
    for item in (late, gone, kept):
        queue.push(item)
    assert queue.remove(gone)
    assert not queue.remove(gone)
    assert queue.take_late(4.9) == []
    assert queue.take_late(5.0) == [late]
    assert queue.take_late(6.0) == []
    assert (queue.size_of("a"), queue.size_of("b"), len(queue)) == (0, 1, 1)
    assert queue.peek() is kept
    assert queue.take_all() == [kept]
    assert queue.peek() is None


@pytest.mark.parametrize("seed", range(5))
def test_everybody_who_comes_is_served_exactly_once_however_they_come_and_go(seed):
    chance = random.Random(seed)
    queue, waiting, running, served, pushed = FairQueue(), [], [], [], []
    for now in range(600):
        match chance.randrange(4):
            case 0 | 1:
                item = Asked(
                    f"o{chance.randrange(5)}",
                    now,
                    priority=chance.randrange(-2, 3),
                    share=chance.choice([0.5, 1, 4]),
                )
                queue.push(item)
                waiting.append(item)
                pushed.append(item)
            case 2 if waiting:
                item = queue.peek()
                queue.start(item)
                waiting.remove(item)
                running.append(item)
            case 3 if waiting and chance.random() < 0.3:
                item = chance.choice(waiting)
                queue.remove(item)
                waiting.remove(item)
                pushed.remove(item)
        if running and chance.random() < 0.4:
            item = running.pop(chance.randrange(len(running)))
            queue.end(item)
            served.append(item)
        assert len(queue) == len(waiting)
    while (item := queue.peek()) is not None:
        queue.start(item)
        running.append(item)
    for item in running:
        queue.end(item)
    assert {id(item) for item in served + running} == {id(item) for item in pushed}
    assert len(served + running) == len(pushed)
    assert queue._accounts == {}, "nobody is remembered once all is idle"
