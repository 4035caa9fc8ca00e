"""Experiments on screen: made step by step, watched in every state, promoted by the rule, closed to those who may not."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import arms
from app.actions import analytics, experiments
from app.bootstrap import Console
from app.ui.experiments.form import Form, encode
from core.experiments import service
from core.experiments.assign import Assigner, unit_of
from core.experiments.impressions import impression_of
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import (
    ArmDraft,
    Experiment,
    ExperimentDraft,
    MetricDraft,
    Serves,
    ServesDraft,
    ServesKind,
    State,
    UnitKind,
)
from core.experiments.store import experiments as store
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]
CONTROL, CHALLENGER = "adapter:brand_test@1", "adapter:retailer_test@1"
HOSTILE = "<b>bold</b> ![x](http://evil.example/x.png) :red[red]"


def tenant_of(console: Console) -> str:
    with console.database.reading() as s:
        return tenants.list_tenants(s)[0].id


def trainer(console: Console) -> Principal:
    return Principal(tenant_of(console), "", "trainer@demo.example", Role.TRAINER)


def make(console: Console, *, start: bool = True, days: float = 3, **changes: Any) -> Experiment:
    """An experiment of two arms, begun some days ago."""
    fields: dict[str, Any] = {
        "id": "tone",
        "name": "Warmer tone",
        "hypothesis": "Warmer answers end well more often.",
        "arms": (
            ArmDraft(id="calm", composition={"model": CONTROL}),
            ArmDraft(id="warm", composition={"model": CHALLENGER}),
        ),
        "minimum_units": 50,
    }
    draft = ExperimentDraft(**(fields | changes))
    then = console.clock() - timedelta(days=days)
    tenant = tenant_of(console)
    with console.database.transaction() as s:
        made = service.create_experiment(s, tenant, draft, created_by="trainer@demo.example", now=then)
        if start:
            pinned = {arm.id: arms.pin(console, s, tenant, arm.composition) for arm in draft.arms}
            made = service.start_experiment(s, tenant, made.id, pinned, now=then)
    return made


def fill(
    console: Console,
    made: Experiment,
    rates: dict[str, float],
    *,
    units: int = 240,
    named: bool = True,
    lost: float = 0.0,
    slower: float = 0.0,
    days: float = 3,
) -> None:
    """Units that come evenly over the days; each arm succeeds as often as told, `lost` of the challenger's are not seen."""
    random = np.random.default_rng(7)
    begun = made.started_at
    assert begun is not None
    found = []
    for number in range(units):
        at = begun + timedelta(days=days * number / units)
        arm = Assigner(made, at).assign(unit_of(f"p{number}", None, "", made.unit)[0], {}, at).variant
        assert arm is not None
        if arm != made.control.id and random.random() < lost:
            continue
        found.append(
            impression_of(
                made,
                arm,
                event_id=f"e{number}",
                user_id=f"p{number}" if named else None,
                session_id=None,
                at=at,
                success=bool(random.random() < rates[arm]),
                latency_ms=float(random.lognormal(math.log(200), 0.2)) + slower * (arm != made.control.id),
                context={"task": "copy" if number % 2 else HOSTILE},
            )
        )
    with console.database.transaction() as s:
        service.record_impressions(s, made, found)
        service.evaluate(s, made.tenant_id, made.id, now=begun + timedelta(days=1))


def told(at: AppTest) -> str:
    boxes = (*at.title, *at.markdown, *at.caption, *at.success, *at.info, *at.warning, *at.error)
    return " ".join(box.value for box in boxes)


def keys(at: AppTest) -> set[str | None]:
    return {button.key for button in at.button}


def figure(at: AppTest, label: str, read: Read) -> str:
    return next(read(metric.value) for metric in at.metric if metric.label == label)


def _ask_script(verb: str, experiment_id: str) -> None:
    from app.actions import experiments
    from app.ui.experiments import verbs
    from app.ui.visit import current_visit

    visit = current_visit()
    found = experiments.get_experiment(visit.console, visit.principal, experiment_id)
    if verb == "promotion":
        results = experiments.get_experiment_results(visit.console, visit.principal, experiment_id)
        verbs.ask_promotion(found, results)
    else:
        getattr(verbs, f"ask_{verb}")(found)


def ask(at: AppTest, button: str, verb: str, experiment_id: str) -> AppTest:
    """Press the button, see the question, and answer: a dialog goes on by itself, so it is drawn here alone."""
    at.button(key=f"exp-do-{button}").click().run()
    assert not at.exception
    assert "exp-yes" in keys(at)
    return AppTest.from_function(_ask_script, args=(verb, experiment_id), default_timeout=30).run()


def say_yes(at: AppTest) -> None:
    at.button(key="exp-yes").click().run()
    assert not at.exception
    assert not at.error


def test_an_empty_workspace_says_what_an_experiment_is_for_and_offers_one(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "experiments")
    assert "No experiment yet." in told(at)
    at.button(key="experiment-new").click().run()
    assert [title.value for title in at.title] == ["New experiment"]
    assert at.button(key="new-next").disabled
    assert "Still needed: a name, the control, a challenger." in told(at)


def test_a_viewer_reads_and_changes_nothing(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.VIEWER, "experiments")
    assert "experiment-new" not in keys(at)
    made = make(console)
    fill(console, made, {"calm": 0.5, "warm": 0.9})
    at = open_as(Role.VIEWER, "experiments", experiment=made.id)
    assert "Ship it." in told(at)
    assert not any(str(key).startswith("exp-do-") for key in keys(at))
    at = open_as(Role.VIEWER, "experiments", new=encode(Form(name="mine")))
    assert [title.value for title in at.title] == ["Experiments"]  # the form is not for them


def opened(at: AppTest) -> list[str]:
    """Names on the cards."""
    return [box.value.strip("*") for box in at.markdown if box.value.startswith("**Plan")]


def test_many_come_in_pages_that_a_search_and_a_state_make_shorter(open_as: Open, console: Console) -> None:
    for number in range(32):
        make(
            console, start=number == 7, id=f"plan-{number}", name=f"Plan {number:02}", namespace=f"n{number}"
        )
    at = open_as(Role.VIEWER, "experiments")
    first = opened(at)
    assert len(first) == 30
    at.session_state["experiments-page"] = 2
    second = opened(at.run())
    assert len(second) == 2
    assert len({*first, *second}) == 32
    at.text_input(key="experiments-search").set_value("plan-3").run()
    assert {name.replace("\u2060", "") for name in opened(at)} == {"Plan 03", "Plan 30", "Plan 31"}
    assert "3 experiments of 32" in told(at)
    at.text_input(key="experiments-search").set_value("").run()
    at.selectbox(key="experiments-state").set_value("Running").run()
    assert [name.replace("\u2060", "") for name in opened(at)] == ["Plan 07"]
    at.text_input(key="experiments-search").set_value("nowhere").run()
    assert "No experiment fits." in told(at)


def test_the_guided_way_makes_and_starts_what_was_chosen(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.TRAINER, "experiments")
    at.button(key="experiment-new").click().run()
    at.text_input(key="exp-name").set_value(HOSTILE).run()
    at.text_area(key="exp-hypothesis").set_value("Warmer is better.").run()
    at.selectbox(key="exp-control").set_value(CONTROL).run()
    assert CONTROL not in at.multiselect(key="exp-challengers").options
    at.multiselect(key="exp-challengers").set_value([CHALLENGER, "base"]).run()
    at.button(key="new-next").click().run()
    at.number_input(key="exp-margin-success").set_value(2.0).run()
    at.number_input(key="exp-guard-latency_p95").set_value(150.0).run()
    at.button(key="new-next").click().run()
    at.multiselect(key="exp-target-retailer").set_value(["Retailer Alpha"])
    at.text_input(key="exp-other-field").set_value("country")
    at.multiselect(key="exp-other-values").set_value(["DE", "AT"])
    at.slider(key="exp-share").set_value(40).run()
    at.button(key="new-next").click().run()
    at.number_input(key="exp-baseline-success").set_value(90.0)
    at.number_input(key="exp-difference-success").set_value(2.0)
    at.number_input(key="exp-per-day").set_value(1000.0).run()
    metrics = {metric.label: read(metric.value) for metric in at.metric}
    needed = int(metrics["Units per arm"].replace(",", ""))
    assert 3000 < needed < 12000  # always valid, two challengers, .90 to .92
    assert int(metrics["Days"].replace(",", "")) == math.ceil(3 * needed / 400)  # 40 % of 1,000 a day
    at.selectbox(key="exp-confidence").set_value(99.0).run()
    assert int({m.label: read(m.value) for m in at.metric}["Units per arm"].replace(",", "")) > needed
    at.radio(key="exp-automatic").set_value("rollback").run()
    at.button(key="new-next").click().run()
    assert not at.exception
    assert "by more than 2 points" in read(told(at))
    assert HOSTILE in read(told(at))
    at.button(key="exp-start").click().run()
    assert not at.error
    assert [read(title.value) for title in at.title] == [HOSTILE]
    (made,) = experiments.list_experiments(console, trainer(console))
    assert made.state is State.RUNNING
    assert [arm.id for arm in made.arms] == ["brand_test-v1", "retailer_test-v1", "base"]
    assert made.plan.primary.margin == pytest.approx(0.02)
    assert (made.plan.guardrails[0].quantile, made.plan.guardrails[0].margin) == (0.95, 150.0)
    assert made.share == pytest.approx(0.4)
    assert made.targeting == {"retailer": ("Retailer Alpha",), "country": ("DE", "AT")}
    assert made.plan.confidence == pytest.approx(0.99)
    assert made.automatic == "rollback"
    assert made.serves is not None
    assert made.serves.name == "brand_test"


def test_power_and_duration_begin_with_real_traffic(open_as: Open, console: Console) -> None:
    for number in range(60):
        analytics.record_request(
            console,
            trainer(console),
            adapter_id="brand_test",
            latency_ms=200.0 + number,
            success=number % 10 > 0,
        )
    console.recorder.write()
    form = Form(step=4, name="n", control=CONTROL, challengers=(CHALLENGER,))
    at = open_as(Role.TRAINER, "experiments", new=encode(form))
    assert at.number_input(key="exp-baseline-success").value == pytest.approx(90.0)
    assert at.number_input(key="exp-per-day").value == pytest.approx(60 / 14, abs=0.1)
    assert "From 60 requests" in told(at)


def test_a_step_that_lacks_something_comes_before_those_behind_it(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "experiments", new=encode(Form(step=5, name="no arms")))
    assert at.button(key="new-next").label == "Next: how to judge"
    at = open_as(Role.TRAINER, "experiments", new="!!! not a form !!!")
    assert at.text_input(key="exp-name").value == ""


def test_shares_that_do_not_sum_up_and_a_namespace_that_cannot_be_hold_the_step(open_as: Open) -> None:
    form = Form(step=3, name="n", control=CONTROL, challengers=(CHALLENGER,))
    at = open_as(Role.TRAINER, "experiments", new=encode(form))
    at.toggle(key="exp-even").set_value(False).run()
    at.number_input(key=f"exp-weight-{CONTROL}").set_value(80.0).run()
    assert "add up to 130 %, not to 100 %" in told(at)
    assert at.button(key="new-next").disabled
    at.number_input(key=f"exp-weight-{CHALLENGER}").set_value(20.0).run()
    assert not at.button(key="new-next").disabled
    at.text_input(key="exp-namespace").set_value("no spaces").run()
    assert "The name of a namespace has letters" in told(at)


def test_a_bandit_is_judged_at_any_moment_and_a_shadow_run_has_no_unit_to_choose(open_as: Open) -> None:
    form = Form(
        step=3, name="n", control=CONTROL, challengers=(CHALLENGER,), mode=Mode.FIXED, planned_units=100
    )
    at = open_as(Role.TRAINER, "experiments", new=encode(form))
    at.segmented_control(key="exp-way").set_value("shadow").run()
    assert "exp-unit" not in {each.key for each in at.segmented_control}
    at.segmented_control(key="exp-way").set_value("bandit").run()
    at.button(key="new-next").click().run()
    assert "exp-mode" not in {each.key for each in at.radio}
    assert "its shares move" in told(at)


def test_a_draft_shows_its_plan_and_is_changed_or_started(
    open_as: Open, console: Console, read: Read
) -> None:
    made = make(console, start=False, name=HOSTILE)
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert "A draft: nothing runs" in told(at)
    assert HOSTILE in read(told(at))
    at.button(key="exp-do-change").click().run()
    assert [title.value for title in at.title] == ["Change the draft"]
    assert at.text_input(key="exp-name").value == HOSTILE
    at.text_input(key="exp-name").set_value("Another name").run()
    for _ in range(4):
        at.button(key="new-next").click().run()
    at.button(key="exp-keep").click().run()
    assert not at.error
    changed = experiments.get_experiment(console, trainer(console), made.id)
    assert (changed.name, changed.state) == ("Another name", State.DRAFT)
    say_yes(ask(at, "begin", "start", made.id))
    assert experiments.get_experiment(console, trainer(console), made.id).state is State.RUNNING


def test_one_that_runs_without_data_says_how_requests_come_in(open_as: Open, console: Console) -> None:
    made = make(console, serves=ServesDraft(kind=ServesKind.ADAPTER, name="brand_test"))
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert "It runs, and nothing has come yet." in told(at)
    assert '"model": "brand_test"' in at.code[0].value
    assert not at.get("plotly_chart")


def test_a_verdict_is_told_with_its_reason_intervals_and_a_way_to_promote(
    open_as: Open, console: Console, read: Read
) -> None:
    guard = MetricDraft(name="latency_ms", kind=MetricKind.MEAN, higher_is_better=False, margin=50.0)
    serves = ServesDraft(kind=ServesKind.ADAPTER, name="brand_test")
    made = make(console, guardrails=(guard,), serves=serves)
    fill(console, made, {"calm": 0.5, "warm": 0.9}, units=600)
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    words = read(told(at))
    assert "Ship it." in words
    assert "«warm» is better than «calm»" in words
    assert "it stays, whatever comes later" in words
    assert figure(at, "Units", read) == "600"
    assert figure(at, "Still needed per arm", read) == "0"
    assert 30 < float(figure(at, "Success rate, points", read)) < 50
    arms_table, compared = at.dataframe[0].value, at.dataframe[1].value
    assert list(arms_table["arm"]) == ["calm (control)", "warm"]
    assert arms_table["units"].sum() == 600
    assert list(compared["says"]) == ["better", "holds"]
    assert {"By segment: exploratory", "Classic tests: one look only, does not decide"} <= {
        each.label for each in at.expander
    }
    assert "Exploratory: among many segments" in words
    assert len(at.get("plotly_chart")) >= 4  # over time, arms, guardrail, age

    at.button(key="exp-do-promote").click().run()
    assert "no version of brand_test" in read(told(at))  # an adapter's name means its own versions only
    assert "exp-yes" not in keys(at)
    with console.database.transaction() as s:
        kept = service.get_experiment(s, made.tenant_id, made.id)
        store.change(s, kept, replace(kept, serves=Serves(ServesKind.FEDERATION, "both")))
    question = AppTest.from_function(_ask_script, args=("promotion", made.id), default_timeout=30).run()
    assert "by a hot swap" in told(question)
    assert not question.button(key="exp-yes").disabled


def test_promoting_against_the_verdict_needs_a_second_yes(
    open_as: Open, console: Console, read: Read
) -> None:
    made = make(console)
    fill(console, made, {"calm": 0.7, "warm": 0.72})
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert "Keep running." in told(at)
    question = ask(at, "promote", "promotion", made.id)
    assert question.button(key="exp-yes").disabled
    assert "No name changes" in told(question)
    question.checkbox(key="exp-promote-anyway").check().run()
    question.button(key="exp-yes").click().run()
    settled = experiments.get_experiment(console, trainer(console), made.id)
    assert (settled.state, settled.settled_arm) == (State.PROMOTED, "warm")
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert "«warm» was promoted." in read(told(at))
    listed = open_as(Role.TRAINER, "experiments")
    assert figure(listed, "Promoted", read) == "1"
    assert "0 of them proved better" in read(told(listed))
    history = at.dataframe[-1].value
    assert list(history["what"])[:2] == ["Promoted", "Promotion begun"]
    assert set(history["who"]) == {"trainer@demo.example"}


def test_a_sample_ratio_that_is_off_is_said_first_and_nothing_is_concluded(
    open_as: Open, console: Console, read: Read
) -> None:
    made = make(console)
    fill(console, made, {"calm": 0.7, "warm": 0.7}, units=700, lost=0.5)
    at = open_as(Role.VIEWER, "experiments", experiment=made.id)
    assert "sample ratio mismatch" in at.error[0].value
    assert "look for a redirect, a cache, a crash" in at.error[0].value
    assert not at.success
    at = open_as(Role.VIEWER, "experiments")
    assert "Sample ratio" in told(at)


def test_harm_says_roll_back_and_a_guardrail_shows_its_veto(
    open_as: Open, console: Console, read: Read
) -> None:
    guard = MetricDraft(name="latency_ms", kind=MetricKind.MEAN, higher_is_better=False, margin=20.0)
    made = make(console, guardrails=(guard,))
    fill(console, made, {"calm": 0.7, "warm": 0.75}, slower=200.0)
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert at.error[0].value.startswith("**Roll back.**")
    assert "Veto" in told(at)
    question = ask(at, "rollback", "rollback", made.id)
    question.text_input(key="exp-rollback-why").set_value("Too slow.").run()
    say_yes(question)
    settled = experiments.get_experiment(console, trainer(console), made.id)
    assert (settled.state, settled.reason) == (State.ROLLED_BACK, "Too slow.")


def test_requests_that_name_nobody_are_said_to_be_treated_as_independent(
    open_as: Open, console: Console
) -> None:
    made = make(console, unit=UnitKind.USER)
    fill(console, made, {"calm": 0.7, "warm": 0.7}, named=False, units=120)
    at = open_as(Role.VIEWER, "experiments", experiment=made.id)
    assert any("treated as independent requests" in box.value for box in at.warning)


def test_a_fixed_plan_is_locked_until_its_look(open_as: Open, console: Console, read: Read) -> None:
    made = make(console, mode=Mode.FIXED, planned_units=1000)
    fill(console, made, {"calm": 0.5, "warm": 0.9})
    at = open_as(Role.VIEWER, "experiments", experiment=made.id)
    words = read(told(at))
    assert "locked until its next look" in words
    assert "judged once, at 1,000 units per arm" in words
    assert "Difference over time" not in [each.value for each in at.subheader]


def test_pausing_resuming_ramping_and_stopping_change_the_state(open_as: Open, console: Console) -> None:
    made = make(console, share=0.2)
    who = trainer(console)
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    question = ask(at, "ramp", "ramp", made.id)
    question.slider(key="exp-ramp-to").set_value(60).run()
    say_yes(question)
    assert experiments.get_experiment(console, who, made.id).share == pytest.approx(0.6)
    at.button(key="exp-do-pause").click().run()
    assert experiments.get_experiment(console, who, made.id).state is State.PAUSED
    at.button(key="exp-do-resume").click().run()
    assert experiments.get_experiment(console, who, made.id).state is State.RUNNING
    question = ask(at, "stop", "stop", made.id)
    question.text_input(key="exp-stop-why").set_value("Season is over.").run()
    say_yes(question)
    stopped = experiments.get_experiment(console, who, made.id)
    assert (stopped.state, stopped.reason) == (State.STOPPED, "Season is over.")
    at = open_as(Role.TRAINER, "experiments", experiment=made.id)
    assert "Nobody took part." in told(at)
    assert {"exp-do-pause", "exp-do-stop", "exp-do-ramp"}.isdisjoint(keys(at))
    say_yes(ask(at, "archive", "archive", made.id))
    assert experiments.get_experiment(console, who, made.id).state is State.ARCHIVED


@pytest.mark.parametrize("view", ["Cards", "Table"])
def test_the_list_has_state_verdict_units_and_days(
    view: str, open_as: Open, console: Console, read: Read
) -> None:
    fill(console, make(console), {"calm": 0.5, "warm": 0.9})
    make(console, id="later", name=HOSTILE, start=False)
    at = open_as(Role.VIEWER, "experiments")
    at.segmented_control(key="experiments-view").set_value(view).run()
    assert figure(at, "Wait for you", read) == "1"
    if view == "Cards":
        words = read(told(at))
        assert HOSTILE in words
        assert "240 units · 3.0 days" in words
        assert "retailer_test v1 against brand_test v1" in words
    else:
        rows = at.dataframe[0].value.set_index("name")
        assert rows.loc["Warmer tone", "verdict"] == "Ship it"
        assert rows.loc["Warmer tone", "units"] == 240
        assert rows.loc[HOSTILE, "state"] == "Draft"


def test_an_experiment_that_is_not_there_is_an_error_with_a_next_step(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "experiments", experiment="nowhere")
    assert "There is no experiment" in at.error[0].value
    assert "Next:" in at.error[0].value


def test_two_compositions_are_compared_offline_on_typed_prompts(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.TRAINER, "experiments")
    at.segmented_control(key="experiments-part").set_value("Offline, on typed prompts").run()
    assert at.button(key="offline-start").disabled
    at.button(key="offline-rows-adapter:brand_test@1").click().run()
    assert "8 prompts with an answer." in told(at)  # the test rows of its set
    at.session_state["_offline_rows"] = _prompts()
    at.run()
    at.button(key="offline-start").click().run()
    deadline = time.monotonic() + 60
    while "offline-start" not in keys(at) and time.monotonic() < deadline:
        time.sleep(0.3)
        at.run()
    assert not at.error
    metrics = {metric.label: read(metric.value) for metric in at.metric}
    assert metrics["Control right"] == "0.0%"
    assert len(at.dataframe[-1].value) == 2
    assert "2 prompts with an answer." in told(at)  # what was typed is still there


def _prompts() -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "prompt": ["Say one.", "Say two.", ""],
            "expected": ["no such", "answer", "left out"],
            "system": ["", "", ""],
        }
    )
