"""Experiments on every database: their states, who gets what, what is recorded, and what is concluded."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.errors import ConflictError, IllegalTransitionError, InvalidInputError, NotFoundError
from core.experiments import service
from core.experiments.assign import Assigner
from core.experiments.plan import MetricKind, Mode, Verdict
from core.experiments.records import (
    Experiment,
    MetricDraft,
    Outside,
    RampDraft,
    State,
    Strategy,
    UnitKind,
)
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.experiments.drafted import draft, pinned, started

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def fill(
    database: Database,
    experiment: Experiment,
    now: datetime,
    rates: dict[str, float],
    units: int,
    **more: Any,
) -> None:
    """So many users, each with one request, in the arm that it is assigned."""
    draw, assigner, made = random.Random(5), Assigner(experiment, now), []
    for number in range(units):
        arm = assigner.assign(f"user:filled_{number}", {}, now).variant
        assert arm is not None
        made.append(
            service.impression_of(
                experiment,
                arm,
                event_id=f"filled_{number}",
                user_id=f"filled_{number}",
                session_id=None,
                at=now,
                success=draw.random() < rates[arm],
                latency_ms=draw.lognormvariate(5, 0.4),
                **more,
            )
        )
    with database.transaction() as s:
        service.record_impressions(s, experiment, made)


def test_a_draft_is_kept_listed_changed_and_belongs_to_its_tenant(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        made = service.create_experiment(s, tenant.id, draft(), created_by="Ada", now=now)
        assert service.get_experiment(s, tenant.id, made.id) == made
        with pytest.raises(ConflictError, match="already"):
            service.create_experiment(s, tenant.id, draft(), created_by="Ada", now=now)
        changed = service.change_experiment(
            s, tenant.id, made.id, draft((0.9, 0.1), name="New"), now=now + HOUR
        )
        assert (changed.plan.weights, changed.name, changed.revision) == ((0.9, 0.1), "New", 2)
        service.create_experiment(s, other_tenant.id, draft(), created_by="Bo", now=now)
    with database.transaction() as s:
        assert service.list_experiments(s, tenant.id) == [changed]
        with pytest.raises(NotFoundError):
            service.get_experiment(s, tenant.id, "AMAZON_V1_VS_V2")
        made = service.create_experiment(s, tenant.id, draft(id=None), created_by="Ada", now=now)
        assert made.id.startswith("exp_")
        with pytest.raises(NotFoundError):
            service.get_experiment(s, other_tenant.id, made.id)


def test_states_follow_each_other_and_no_others(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        running = started(s, of, now)
        for step in (service.archive_experiment, service.resume_experiment):
            with pytest.raises(ConflictError):
                step(s, of, running.id, now=now)
        with pytest.raises(IllegalTransitionError, match="running cannot become running"):
            service.start_experiment(s, of, running.id, pinned(running), now=now)
        paused = service.pause_experiment(s, of, running.id, reason="a fault", now=now)
        assert (paused.state, paused.reason) == (State.PAUSED, "a fault")
        assert service.resume_experiment(s, of, running.id, now=now).state is State.RUNNING
        stopped = service.stop_experiment(s, of, running.id, now=now + HOUR)
        assert stopped.stopped_at == now + HOUR
        with pytest.raises(IllegalTransitionError):
            service.pause_experiment(s, of, running.id, now=now)
        promoted = service.settle(s, of, running.id, State.PROMOTED, arm_id="v2", reason="", now=now)
        assert promoted.settled_arm == "v2"
        service.settle(s, of, running.id, State.ROLLED_BACK, arm_id="v1", reason="", now=now)
        assert service.archive_experiment(s, of, running.id, now=now).state is State.ARCHIVED
        assert service.list_experiments(s, of) == []
        assert len(service.list_experiments(s, of, include_archived=True)) == 1


def test_a_plan_that_runs_cannot_be_changed(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now)
        with pytest.raises(ConflictError, match="fixed when the experiment started"):
            service.change_experiment(s, sqlite_tenant.id, running.id, draft((0.9, 0.1)), now=now)
        assert service.get_experiment(s, sqlite_tenant.id, running.id).plan == running.plan


def test_the_share_rises_and_does_not_fall(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now, share=0.2, ramp=(RampDraft(at=now + HOUR, share=0.5),))
        assert service.raise_share(s, sqlite_tenant.id, running.id, 0.3, now=now).share == 0.3
        with pytest.raises(ConflictError, match=r"cannot fall from 0.5 to 0.4"):
            service.raise_share(s, sqlite_tenant.id, running.id, 0.4, now=now + HOUR)
        with pytest.raises(InvalidInputError):
            service.raise_share(s, sqlite_tenant.id, running.id, float("nan"), now=now)


def test_two_that_change_an_experiment_at_once_do_not_overwrite_each_other(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)

    def end(state: State) -> str:
        try:
            with database.transaction() as s:
                if state is State.PAUSED:
                    service.pause_experiment(s, tenant.id, running.id, now=now)
                else:
                    service.stop_experiment(s, tenant.id, running.id, now=now)
        except ConflictError:
            return "refused"
        return state.value

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(end, (State.PAUSED, State.STOPPED)))
    with database.transaction() as s:
        found = service.get_experiment(s, tenant.id, running.id)
    assert found.state.value in ended
    assert found.revision == running.revision + 2 - ended.count("refused")


def test_one_that_is_scheduled_begins_and_ends_by_itself(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        waiting = started(s, of, now, starts_at=now + HOUR, ends_at=now + 3 * HOUR)
        assert waiting.is_scheduled
        assert service.assign_variant(s, of, waiting.id, "ann", now=now).outside is Outside.NOT_OPEN
        assert service.tick(s, of, waiting.id, now=now) is None
        assert service.assign_variant(s, of, waiting.id, "ann", now=now + HOUR).variant is not None
        assert service.tick(s, of, waiting.id, now=now + HOUR) is None
        # The clock is set back to before the start: what has begun stays begun.
        assert service.assign_variant(s, of, waiting.id, "ann", now=now).variant is not None
        ended = service.tick(s, of, waiting.id, now=now + 3 * HOUR)
        assert ended is not None
        assert (ended.state, ended.reason) == (State.STOPPED, "Its end has come.")
        # And what has ended stays ended.
        assert service.assign_variant(s, of, waiting.id, "ann", now=now + HOUR).variant is None


def test_an_experiment_whose_end_has_come_cannot_be_started(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        made = service.create_experiment(
            s, sqlite_tenant.id, draft(ends_at=now + HOUR), created_by="Ada", now=now
        )
        with pytest.raises(InvalidInputError, match="end of"):
            service.start_experiment(s, sqlite_tenant.id, made.id, pinned(made), now=now + HOUR)


def test_an_assignment_is_exposed_once_and_a_replayed_event_changes_nothing(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        given = {service.assign_variant(s, tenant.id, running.id, "ann", now=now) for _ in range(3)}
        (assignment,) = given
        arm = assignment.variant
        assert arm is not None
        for replayed in (False, True, True):
            told = service.record_impression(
                s, tenant.id, running.id, arm, True, 100.0, 4.5, "ann", event_id="order-7", now=now
            )
            assert (told.event_id, told.replayed) == ("order-7", replayed)
        results = service.get_experiment_results(s, tenant.id, running.id, now=now)
    figures = {each.arm: each for each in results.arms}[arm]
    assert (figures.exposed, figures.units, figures.requests, figures.ratings) == (1, 1, 1, 1)
    assert results.unfolded == 0


def test_the_names_of_users_are_not_in_the_database(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        arm = service.assign_variant(s, tenant.id, running.id, "ann@example.com", now=now).variant
        assert arm is not None
        service.record_impression(s, tenant.id, running.id, arm, True, 1.0, None, "ann@example.com", now=now)
        service.get_experiment_results(s, tenant.id, running.id, now=now)
    with database.engine.connect() as connection:
        for table in ("experiment_impressions", "experiment_units", "experiment_evidence"):
            rows = connection.execute(text(f"SELECT * FROM {table}")).all()
            assert rows
            assert "ann@" not in str(rows)


def test_what_is_not_running_records_nothing(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        made = service.create_experiment(s, of, draft(), created_by="Ada", now=now)
        with pytest.raises(ConflictError, match="draft"):
            service.record_impression(s, of, made.id, "v1", True, 1.0, now=now)
        service.start_experiment(s, of, made.id, pinned(made), now=now)
        service.record_impression(s, of, made.id, "v1", True, 1.0, now=now)
        service.stop_experiment(s, of, made.id, now=now)
        with pytest.raises(ConflictError, match="final"):
            service.record_impression(s, of, made.id, "v1", True, 1.0, now=now)
        with pytest.raises(NotFoundError):
            service.record_impression(s, of, "nothing", "v1", True, 1.0, now=now)


def test_a_better_variant_ships_and_the_verdict_stays(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
    fill(database, running, now, {"v1": 0.4, "v2": 0.9}, 240, context={"retailer": "amazon"})
    with database.transaction() as s:
        results = service.get_experiment_results(s, tenant.id, running.id, now=now)
    assert results.decision.verdict is Verdict.SHIP
    assert results.winner == "v2"
    assert results.reached is not None
    assert results.reached.at == now
    assert {test.name for test in results.decision.one_look} == {"chi-square"}
    assert all(test.label == "one look only" for test in results.decision.one_look)
    (point,) = results.history
    assert point.day == now.date()
    assert point.low < 0.5 < point.high
    assert {(each.field, each.value) for each in results.segments} == {("retailer", "amazon")}
    # The luck turns: the verdict that was reached stays, and what the evidence says now is told beside it.
    late = [
        service.impression_of(
            running,
            arm,
            event_id=f"late_{number}_{arm}",
            user_id=None,
            session_id=None,
            at=now + DAY,
            success=arm == "v1",
        )
        for number in range(200)
        for arm in ("v1", "v2")
    ]
    with database.transaction() as s:
        service.record_impressions(s, running, late)
        later = service.get_experiment_results(s, tenant.id, running.id, now=now + DAY)
    assert later.reached == results.reached
    assert later.winner == "v2"
    assert later.decision.verdict is not Verdict.SHIP
    assert len({point.day for point in later.history}) == 2


def test_harm_is_called_from_the_first_units_on(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now, minimum_units=100_000)
    fill(sqlite_database, running, now, {"v1": 0.95, "v2": 0.1}, 150)
    with sqlite_database.transaction() as s:
        results = service.get_experiment_results(s, sqlite_tenant.id, running.id, now=now)
    assert results.decision.verdict is Verdict.ROLLBACK
    assert results.winner == "v1"


def test_requests_that_name_nobody_are_told_to_be_treated_as_independent(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        running = started(s, of, now)
        for number in range(40):
            service.record_impression(s, of, running.id, f"v{1 + number % 2}", True, 100.0, 4.5, now=now)
        results = service.get_experiment_results(s, of, running.id, now=now)
    assert results.independent_units == 40
    assert any("treated as independent requests" in told for told in results.warnings)
    assert [arm.latency_p50_ms for arm in results.arms] == [pytest.approx(100.0, rel=0.01)] * 2


def test_percentiles_of_fewer_than_ten_requests_are_not_shown(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now)
        for number in range(9):
            service.record_impression(
                s, sqlite_tenant.id, running.id, "v1", True, 5.0, None, f"u{number}", now=now
            )
        results = service.get_experiment_results(s, sqlite_tenant.id, running.id, now=now)
    assert results.arms[0].latency_p95_ms is None
    assert results.arms[0].latency_mean_ms == 5.0


def test_a_bandit_gives_the_better_arm_more_and_units_keep_what_they_got(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now, strategy=Strategy.BANDIT)
        first = {
            user: service.assign_variant(s, tenant.id, running.id, user, now=now)
            for user in (f"early_{n}" for n in range(12))
        }
    fill(database, running, now, {"v1": 0.2, "v2": 0.8}, 60)
    with database.transaction() as s:
        results = service.get_experiment_results(s, tenant.id, running.id, now=now)
        shares = results.experiment.allocation
        assert shares is not None
        assert sum(shares.values()) == pytest.approx(1)
        assert 0.05 <= shares["v1"] < 0.1 < 0.9 < shares["v2"]
        assert {
            user: service.assign_variant(s, tenant.id, running.id, user, now=now) for user in first
        } == first
        late = [service.assign_variant(s, tenant.id, running.id, f"late_{n}", now=now) for n in range(40)]
    assert sum(each.variant == "v2" for each in late) > 30
    assert {each.propensity for each in late} == set(shares.values())
    assert not results.decision.mismatch.found
    assert any("bandit" in told for told in results.warnings)


def test_pairs_of_a_shadow_experiment_are_of_one_request(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now, shadow=True)
        assert running.unit is UnitKind.REQUEST
        for number in range(30):
            for arm, success in (("v1", number % 3 == 0), ("v2", number % 3 < 2)):
                told = service.record_impression(
                    s, tenant.id, running.id, arm, success, 9.0, event_id=f"req_{number}", now=now
                )
                assert not told.replayed
        again = service.record_impression(
            s, tenant.id, running.id, "v2", True, 9.0, event_id="req_3", now=now
        )
        assert again.replayed
        results = service.get_experiment_results(s, tenant.id, running.id, now=now)
    pairs = results.evidence.pairs["v2"]
    assert (pairs.plus, pairs.minus, pairs.ties) == (10, 0, 20)
    assert results.evidence.shadow
    assert not any("independent" in told for told in results.warnings)


def test_a_planned_look_is_taken_once(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        running = started(
            s, of, now, mode=Mode.GROUP_SEQUENTIAL, planned_units=40, looks=2, unit=UnitKind.REQUEST
        )
        looks = []
        for number in range(44):
            for arm in ("v1", "v2"):
                service.record_impression(s, of, running.id, arm, number % 2 == 0, 1.0, now=now)
            results = service.get_experiment_results(s, of, running.id, now=now)
            looks += [number + 1] * bool(results.decision.comparisons)
    assert looks == [20, 40]
    assert results.evidence.looks_taken == 2


def test_the_effect_of_the_first_day_alone_is_called_novelty(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of, draw = sqlite_tenant.id, random.Random(3)
    primary = MetricDraft(name="accepted", kind=MetricKind.SHARE)
    with sqlite_database.transaction() as s:
        running = started(s, of, now, primary=primary)
        for day in (0, 3):
            for number in range(200):
                arm = f"v{1 + number % 2}"
                rate = 0.9 if arm == "v2" and day == 0 else 0.4
                service.record_impression(
                    s,
                    of,
                    running.id,
                    arm,
                    None,
                    user_id=f"u{number}",
                    metrics={"accepted": float(draw.random() < rate)},
                    now=now + day * DAY,
                )
        results = service.get_experiment_results(s, of, running.id, now=now + 3 * DAY)
    assert {(each.days, each.units) for each in results.ages} == {("0", 100), ("2–6", 100)}
    assert any("novelty" in told for told in results.warnings)


def test_archiving_forgets_single_requests_and_units_and_keeps_the_sums(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
    fill(database, running, now, {"v1": 0.5, "v2": 0.5}, 20)
    with database.transaction() as s:
        before = service.get_experiment_results(s, tenant.id, running.id, now=now)
        service.stop_experiment(s, tenant.id, running.id, now=now)
        service.archive_experiment(s, tenant.id, running.id, now=now)
        after = service.get_experiment_results(s, tenant.id, running.id, now=now)
        for table in ("experiment_impressions", "experiment_units"):
            assert s.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0
    assert after.arms == before.arms
