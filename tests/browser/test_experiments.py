"""An experiment in a browser: made in five steps, started, stopped; a verdict read and promoted; two models offline."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app.arms import pin
from app.bootstrap import Console, build_console
from app.ui.text import WORD_JOINER
from core.experiments import service
from core.experiments.assign import Assigner, unit_of
from core.experiments.impressions import impression_of
from core.experiments.plan import MetricKind
from core.experiments.records import ArmDraft, ExperimentDraft, MetricDraft
from core.settings import Settings
from core.tenants import service as tenants

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
LOOKS = {"light": ("light", 1280, 900), "dark": ("dark", 1280, 900), "phone": ("light", 390, 844)}
DAYS, PEOPLE = 11, 400
NAME = "Warmer <b>copy</b>"


def fill(visit: Any, key: str, text: str) -> None:
    box = visit.page.locator(f".st-key-{key}").locator("input, textarea").first
    box.fill(text)
    box.press("Tab")
    visit.settle()


def choose(visit: Any, key: str, name: str) -> None:
    box = visit.page.locator(f".st-key-{key} input").first
    box.click()
    box.fill(name)
    visit.page.get_by_role("option").filter(has_text=name).first.click()
    visit.settle()


def go_on(visit: Any, step: int) -> None:
    visit.page.locator(".st-key-new-next button").click()
    visit.page.get_by_text(re.compile(f"^{step} · ")).first.wait_for()
    visit.settle()


def press(visit: Any, button: str, answer: str | None = None) -> None:
    visit.page.locator(f".st-key-exp-do-{button} button").click()
    if answer is not None:
        visit.page.get_by_role("button", name=answer).click()
    visit.settle()


def clean(visit: Any) -> None:
    assert visit.page.get_by_test_id("stException").count() == 0
    assert visit.complaints == []
    assert visit.foreign == []


@pytest.fixture(scope="module")
def watched(running: Any) -> str:
    """An experiment that has run for eleven days with a challenger that is better, written beside the running console."""
    console = build_console(Settings(home=running.home))
    try:
        return fill_days(console)
    finally:
        console.close()


def fill_days(console: Console) -> str:
    random, now = np.random.default_rng(3), console.clock()
    begun = now - timedelta(days=DAYS)
    with console.database.transaction() as s:
        tenant = tenants.list_tenants(s)[0].id
        draft = ExperimentDraft(
            id="warmer-copy",
            name="Warmer product copy",
            hypothesis="If the planner answers, more requests end well, because it names the objective.",
            arms=tuple(
                ArmDraft(id=name, composition={"model": f"adapter:{name}"})
                for name in ("brand_pomelia", "task_planning")
            ),
            guardrails=(
                MetricDraft(name="latency_ms", kind=MetricKind.MEAN, higher_is_better=False, margin=100),
            ),
            minimum_days=2,
        )
        made = service.create_experiment(s, tenant, draft, created_by="trainer@demo.example", now=begun)
        pinned = {arm.id: pin(console, s, tenant, arm.composition) for arm in draft.arms}
        made = service.start_experiment(s, tenant, made.id, pinned, now=begun)
    assigner = Assigner(made, begun)
    for day in range(DAYS):
        found = []
        for number in range(PEOPLE):
            name, at = f"{day}-{number}", begun + timedelta(days=day + number / PEOPLE)
            arm = assigner.assign(unit_of(name, None, "", made.unit)[0], {}, at).variant or ""
            found.append(
                impression_of(
                    made,
                    arm,
                    event_id=name,
                    user_id=name,
                    session_id=None,
                    at=at,
                    success=bool(random.random() < (0.885 if arm == "task_planning" else 0.82)),
                    latency_ms=float(random.lognormal(6, 0.4)),
                    context={"task": str(random.choice(["bid planning", "product copy"]))},
                )
            )
        with console.database.transaction() as s:
            service.record_impressions(s, made, found)
            service.evaluate(s, tenant, made.id, now=begun + timedelta(days=day + 0.99))
    return made.id


def test_an_experiment_is_made_started_and_stopped(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/experiments")
    page.get_by_role("button", name="New experiment").click()
    page.get_by_role("heading", name="New experiment").wait_for()
    visit.settle()
    fill(visit, "exp-name", NAME)
    fill(visit, "exp-hypothesis", "If the planner answers, more requests end well.")
    choose(visit, "exp-control", "brand_pomelia")
    choose(visit, "exp-challengers", "task_planning")
    page.keyboard.press("Escape")
    visit.settle()
    page.reload()  # the address keeps what was chosen
    page.get_by_role("heading", name="New experiment").wait_for()
    visit.settle()
    expect(page.locator(".st-key-exp-name input")).to_have_value(NAME)
    shoot(page, "experiment-new-light")
    for step in (2, 3, 4):
        go_on(visit, step)
    fill(visit, "exp-baseline-success", "90")
    fill(visit, "exp-per-day", "2000")
    page.get_by_text("Units per arm", exact=True).wait_for()
    shoot(page, "experiment-duration-light")
    go_on(visit, 5)
    shoot(page, "experiment-review-light")
    page.get_by_role("button", name="Create and start").click()
    page.get_by_text("It runs, and nothing has come yet.").wait_for()
    visit.settle()
    assert page.get_by_role("heading", level=1).inner_text().replace(WORD_JOINER, "") == NAME
    press(visit, "pause")
    page.locator(".st-key-exp-do-resume").wait_for()
    press(visit, "resume")
    page.locator(".st-key-exp-do-stop").wait_for()
    press(visit, "stop", "Stop it")
    page.get_by_text("Nobody took part.").wait_for()
    visit.settle()
    clean(visit)


def test_a_verdict_is_read_and_promoted(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None], watched: str
) -> None:
    for look, how in LOOKS.items():
        visit = new_visit(*how)
        page = visit.open(f"/experiments?experiment={watched}")
        page.get_by_text("Ship it.").wait_for()
        expect(page.locator(".js-plotly-plot")).to_have_count(4, timeout=30_000)  # time, arms, guardrail, age
        page.locator(".st-key-exp-live label").first.click()
        visit.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= how[1]
        shoot(page, f"experiment-{look}")
        clean(visit)
    visit = new_visit()
    page = visit.open("/experiments")
    shoot(page, "experiments-light")
    page = visit.open(f"/experiments?experiment={watched}")
    page.get_by_text("By segment: exploratory").click()
    page.get_by_text(re.compile("among many segments")).wait_for()
    page.locator(".st-key-exp-do-promote button").click()
    page.get_by_text(re.compile("by a hot swap|No name changes")).wait_for()
    page.get_by_role("button", name="Promote it").click()
    page.locator(".st-key-exp-do-archive").wait_for()
    page.get_by_text("«task_planning» was promoted.").first.wait_for()
    visit.settle()
    clean(visit)


def test_two_models_are_compared_offline(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/experiments")
    page.get_by_text("Offline, on typed prompts").click()
    visit.settle()
    page.get_by_role("button", name="Take held-out rows of brand_pomelia v1").click()
    page.get_by_text(re.compile(r"[1-9]\d* prompts with an answer")).wait_for()
    visit.settle()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("Control right", exact=True).wait_for(timeout=180_000)
    visit.settle()
    shoot(page, "experiment-offline-light")
    clean(visit)
