"""Who may be counted, and what comes of one event at different times, on every database."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError
from core.experiments import service
from core.experiments.fold import fold
from core.experiments.plan import MetricKind
from core.experiments.records import Experiment, MetricDraft, Outside, UnitKind
from core.experiments.results import ArmFigures, ExperimentResults
from core.experiments.tally import Tally
from core.storage.database import Database
from core.storage.ids import new_id
from core.tenants.records import Tenant
from tests.core.experiments.drafted import draft, pinned, started

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def say(s: Session, of: Experiment, arm: str = "v1", *, now: datetime, **told: Any) -> bool:
    """An impression as a client sends it. Whether it was replayed."""
    given = {"success": None, **told}
    return service.record_impression(s, of.tenant_id, of.id, arm, **given, now=now).replayed


def answer(
    s: Session, of: Experiment, event_id: str, arm: str = "v1", *, now: datetime, **told: Any
) -> set[str]:
    """What a routed request tells of itself: it succeeded after 120 ms, for Ann."""
    given: dict[str, Any] = {"user_id": "ann", "success": True, "latency_ms": 120.0, **told}
    made = service.impression_of(of, arm, event_id=event_id, session_id=None, at=now, **given)
    return service.record_impressions(s, of, [made], under_way=True)


def told(s: Session, of: Experiment, now: datetime) -> ExperimentResults:
    return service.get_experiment_results(s, of.tenant_id, of.id, now=now)


def figures(s: Session, of: Experiment, now: datetime, arm: str = "v1") -> ArmFigures:
    return next(each for each in told(s, of, now).arms if each.arm == arm)


@pytest.mark.parametrize("counted_between", [False, True])
@pytest.mark.parametrize("rating_first", [False, True])
def test_an_answer_and_its_rating_complete_each_other_whichever_comes_first(
    database: Database, tenant: Tenant, now: datetime, rating_first: bool, counted_between: bool
) -> None:
    event = new_id("req")
    # The client thinks that it failed, fast: the answer knows better.
    said: dict[str, Any] = {"event_id": event, "feedback_score": 5.0}
    said["success"] = False if rating_first else None

    def rate(at: datetime) -> object:
        return say(s, running, now=at, **said)

    def tell(at: datetime) -> object:
        return answer(s, running, event, now=at)

    with database.transaction() as s:
        running = started(s, tenant.id, now)
        for number, step in enumerate((rate, tell) if rating_first else (tell, rate)):
            assert not step(now + number * SECOND)
            if counted_between:
                told(s, running, now + number * SECOND)
        assert say(s, running, now=now + 2 * SECOND, **said)  # a replay is a replay
        found = figures(s, running, now + 3 * SECOND)
        assert told(s, running, now + 3 * SECOND).unfolded == 0
    assert (found.units, found.requests, found.exposed, found.ratings) == (1, 1, 1, 1)
    assert found.success_rate is not None
    assert found.success_rate.value == 1.0
    assert found.latency_mean_ms == 120.0
    assert found.rating is not None
    assert found.rating.value == 5.0


def test_a_rating_whose_answer_is_lost_is_counted_after_half_a_minute(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        say(s, running, now=now, event_id=new_id("req"), feedback_score=4.0)
        assert (told(s, running, now + 5 * SECOND).unfolded, figures(s, running, now).ratings) == (1, 0)
        assert figures(s, running, now + 31 * SECOND).ratings == 1
        # What names no request of ours waits for nothing.
        say(s, running, now=now, event_id="order-7", feedback_score=4.0)
        assert figures(s, running, now).ratings == 2


def test_an_outcome_of_a_request_that_only_exposed_its_unit_is_its_first(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        answer(s, running, "one", now=now, success=None, latency_ms=None, exposure=True)
        assert (figures(s, running, now).exposed, figures(s, running, now).requests) == (1, 0)
        assert not say(s, running, now=now, event_id="one", success=True)
        found = figures(s, running, now)
    assert (found.exposed, found.units, found.requests) == (1, 1, 1)


def sums(tally: Tally) -> Any:
    return (
        {
            name: (arm.units, arm.requests, arm.exposed, arm.sums, arm.first, arm.sketches)
            for name, arm in tally.arms.items()
        },
        tally.pairs,
        tally.repeats,
        tally.crossed,
    )


def test_events_told_in_parts_and_counted_between_have_the_sums_of_events_told_whole(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    draw = random.Random(4)
    guardrails = (MetricDraft(name="feedback_score", kind=MetricKind.QUANTILE, quantile=0.5),)
    events = [
        (f"e{n}", f"v{1 + n % 2}", f"u{n % 40}", draw.random() < 0.6, draw.lognormvariate(5, 0.5), n % 6)
        for n in range(120)
    ]
    with sqlite_database.transaction() as s:
        whole = started(s, sqlite_tenant.id, now, id="whole", guardrails=guardrails)
        parts = started(s, sqlite_tenant.id, now, id="parts", guardrails=guardrails)
        for number, (event, arm, user, success, latency, score) in enumerate(events):
            of = {"event_id": event, "user_id": user}
            say(
                s, whole, arm, now=now, **of, success=success, latency_ms=latency, feedback_score=float(score)
            )
            say(s, parts, arm, now=now, **of, success=success)
            if number % 3 == 0:
                fold(s, parts, now=now)
            say(s, parts, arm, now=now, **of, latency_ms=latency)
            if number % 2 == 0:
                fold(s, parts, now=now)
            say(s, parts, arm, now=now, **of, feedback_score=float(score))
        for user, arm in (("u2", "v2"), ("u5", "v1")):  # seen in the other arm: all of it is taken back
            for experiment in (whole, parts):
                say(s, experiment, arm, now=now, user_id=user, success=True, event_id=f"crossed-{user}")
        one, two = (fold(s, each, now=now, portions=9)[0] for each in (whole, parts))
    assert one.crossed == 2
    assert sums(two) == sums(one)


def test_ratings_that_come_while_others_count_are_all_counted(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        for number in range(24):
            answer(s, running, f"e{number}", now=now, user_id=f"u{number}")

    def work(worker: int) -> None:
        for number in range(worker, 24, 4):
            with database.transaction() as s:
                say(s, running, now=now, event_id=f"e{number}", feedback_score=4.0)
            with database.transaction() as s:
                fold(s, running, now=now)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with database.transaction() as s:
        found = figures(s, running, now)
    assert (found.units, found.requests, found.ratings) == (24, 24, 24)


def test_a_rating_that_comes_while_its_event_is_being_counted_is_counted_beside_it(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        answer(s, running, "one", now=now)

    def rate() -> None:
        with database.transaction() as s:
            say(s, running, now=now, event_id="one", feedback_score=4.0)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as s:
            fold(s, running, now=now)
            rating = pool.submit(rate)
            time.sleep(0.3)  # it has read what is known by now, and waits
        rating.result()
    with database.transaction() as s:
        found = figures(s, running, now)
    assert (found.units, found.requests, found.ratings) == (1, 1, 1)


def test_an_experiment_that_is_paused_not_begun_or_past_its_end_counts_only_units_that_it_knows(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    of = tenant.id
    with database.transaction() as s:
        later = started(s, of, now, id="later", starts_at=now + HOUR)
        with pytest.raises(ConflictError, match="counts nothing new now") as refused:
            say(s, later, now=now, success=True, user_id="ann")
        assert "has not begun" in refused.value.why
        ending = started(s, of, now, id="ending", ends_at=now + HOUR)
        paused = started(s, of, now, id="paused")
        arms = {}
        for experiment in (ending, paused):
            arms[experiment.id] = service.assign_variant(s, of, experiment.id, "ann", now=now).variant or ""
            say(s, experiment, now=now, success=True, event_id="known")
        service.pause_experiment(s, of, "paused", now=now)
        for experiment, at, why in (
            (ending, now + HOUR, "end has come"),
            (paused, now + SECOND, "is paused"),
        ):
            arm = arms[experiment.id]
            for stranger in ({"user_id": "bob"}, {}, {"event_id": "other"}):
                with pytest.raises(ConflictError, match="counts nothing new now") as refused:
                    say(s, experiment, arm, now=at, success=True, **stranger)
                assert why in refused.value.why
            assert not say(s, experiment, arm, now=at, success=True, user_id="ann")
            assert not say(s, experiment, now=at, feedback_score=4.0, event_id="known")
        # Answers of arms that waited while it was paused still count.
        answer(s, service.get_experiment(s, of, "paused"), "late", now=now, user_id="cid")
        assert sum(arm.units for arm in told(s, paused, now + SECOND).arms) == 3


def test_a_unit_that_takes_no_part_counts_only_where_it_was_given_a_variant_before(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of, fits = sqlite_tenant.id, {"retailer": "amazon"}
    with sqlite_database.transaction() as s:
        targeted = started(s, of, now, id="targeted", targeting={"retailer": ("amazon",)})
        for context in ({"retailer": "kroger"}, {}):
            for user in ("ann", None):
                with pytest.raises(ConflictError, match="takes no part") as refused:
                    say(s, targeted, now=now, success=True, user_id=user, context=context)
                assert "not targeted" in refused.value.why
        assert not say(s, targeted, now=now, success=True, user_id="bob", context=fits)
        assert not say(s, targeted, now=now, success=True, context=fits)
        arm = service.assign_variant(s, of, targeted.id, "ann", fits, now=now).variant
        assert not say(s, targeted, arm or "", now=now, success=True, user_id="ann")
        held = started(s, of, now, id="held", namespace="home", holdout=0.5, share=0.5)
        outside = {
            reason: user
            for user in map(str, range(60))
            if (reason := service.assign_variant(s, of, "held", user, now=now).outside)
        }
        assert set(outside) == {Outside.HELD_OUT, Outside.NOT_IN_RAMP}
        for user in outside.values():
            with pytest.raises(ConflictError, match="takes no part"):
                say(s, held, now=now, success=True, user_id=user)
        assert not say(s, held, now=now, success=True)  # names nobody: it may have come any way


def test_an_arm_of_weight_0_is_recorded_with_a_note_that_it_is_not_judged(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now, (0.5, 0.5, 0.0))
        found = {
            arm: service.record_impression(s, sqlite_tenant.id, running.id, arm, True, now=now).note
            for arm in ("v1", "v2", "v3")
        }
    assert found == {"v1": "", "v2": "", "v3": "«v3» has weight 0: it is shown, and not judged."}


@pytest.mark.parametrize("unit", list(UnitKind))
def test_what_is_assigned_and_what_comes_of_it_are_one_unit_whatever_the_unit_is(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, unit: UnitKind
) -> None:
    of, named = sqlite_tenant.id, {UnitKind.SESSION: "session_id", UnitKind.REQUEST: "event_id"}
    with sqlite_database.transaction() as s:
        running = started(s, of, now, unit=unit)
        for number in range(20):
            who = {"user_id": f"user {number}", "event_id": f"event {number}"}
            if unit is UnitKind.SESSION:
                who |= {"session_id": f"session {number}"}
            arm = service.assign_variant(
                s,
                of,
                running.id,
                who["user_id"],
                session_id=who.get("session_id"),
                event_id=who["event_id"],
                now=now,
            ).variant
            say(s, running, arm or "", now=now, success=True, **who)
        results = told(s, running, now)
        assert [sum(each) for each in zip(*((a.exposed, a.units) for a in results.arms), strict=True)] == [
            20,
            20,
        ]
        assert results.independent_units == (20 if unit is UnitKind.REQUEST else 0)
        with pytest.raises(InvalidInputError, match=f"assigns by {unit}") as refused:
            service.assign_variant(s, of, running.id, None if unit is UnitKind.USER else "ann", now=now)
    assert named.get(unit, "user_id") in refused.value.next_step


@pytest.mark.parametrize("event_id", ["a\0b", "\ud800", "x" * 181])
def test_an_event_id_that_not_every_database_holds_is_refused(
    database: Database, tenant: Tenant, now: datetime, event_id: str
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        with pytest.raises(InvalidInputError, match="event id"):
            say(s, running, now=now, success=True, event_id=event_id)


def test_a_long_event_of_a_shadow_experiment_is_recorded_once_for_each_arm(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    arms = tuple(arm.model_copy(update={"id": arm.id * 20}) for arm in draft().arms)
    with database.transaction() as s:
        made = service.create_experiment(
            s, tenant.id, draft(shadow=True, arms=arms), created_by="Ada", now=now
        )
        running = service.start_experiment(s, tenant.id, made.id, pinned(made), now=now)
        for replayed in (False, True):
            for arm in arms:
                assert say(s, running, arm.id, now=now, success=True, event_id="e" * 180) is replayed
