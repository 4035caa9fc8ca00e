"""Composing in a browser: four columns, a pipeline, a gate that is trained, memory, a swap with its steps, an export."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]
LOOKS = {"dark": ("dark", 1280, 900), "phone": ("light", 390, 844)}
ANSWER_MS, GATE_MS = 180_000, 600_000


def choose(visit: Any, key: str, *names: str) -> None:
    """Options of a choice of several, by the beginning of their names."""
    box = visit.page.locator(f".st-key-{key} input").first
    for name in names:
        box.click()
        box.fill(name)
        visit.page.get_by_role("option", name=re.compile(f"^{name}")).first.click()
        visit.settle()
    box.press("Escape")
    visit.settle()


def save(visit: Any, name: str) -> None:
    page = visit.page
    page.get_by_role("button", name="Save as a federation").click()
    page.locator(".st-key-federation-name input").fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text(re.compile(f"{name} v. was saved")).wait_for()
    visit.settle()
    page.keyboard.press("Escape")


def ask(visit: Any, columns: int) -> None:
    visit.page.get_by_role("button", name="Ask", exact=True).click()
    expect(visit.page.get_by_text(re.compile(r"\d+ tokens in"))).to_have_count(columns, timeout=ANSWER_MS)
    visit.settle()


@pytest.fixture
def picture(shoot: Callable[[Page, str], None]) -> Callable[[Page, str], None]:
    """A picture of the whole screen from its top."""

    def take(page: Page, name: str) -> None:
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=30_000)
        page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
        shoot(page, name)

    return take


def clean(visit: Any) -> None:
    assert visit.page.get_by_test_id("stException").count() == 0
    assert visit.complaints == []
    assert visit.foreign == []


def test_columns_pipelines_swaps_and_exports(
    new_visit: Callable[..., Any], picture: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/federation")
    for kind, name in (("retailer", "retailer_beta"), ("task", "task_planning"), ("brand", "brand_pomelia")):
        if name not in page.locator(f".st-key-composer-{kind}").inner_text():
            choose(visit, f"composer-{kind}", name)
    handle = page.locator(".st-key-composer-weights").get_by_role("slider").last
    handle.focus()
    for _ in range(10):
        handle.press("ArrowLeft")
    visit.settle()
    choose(visit, "playground-columns", "task_planning", "retailer_beta")
    page.locator(".st-key-ask-tokens input").fill("120")
    page.keyboard.press("Tab")
    page.get_by_text("retailer_beta · 1", exact=True).click()
    visit.settle()
    ask(visit, 4)
    picture(page, "composer-columns-light")
    page.locator(".st-key-judge-best").get_by_text("task_planning v1 alone").click()
    page.get_by_role("button", name="This one is better").click()
    page.get_by_text(re.compile(r"Kept as \d pref|Nothing was kept")).wait_for()
    save(visit, "three voices")
    handle.press("ArrowLeft")
    visit.settle()
    save(visit, "three voices")
    look_on(new_visit, picture, "/federation", "composer")

    page.get_by_text("Pipeline", exact=True).first.click()
    visit.settle()
    page.get_by_role("button", name="Another stage").click()
    visit.settle()
    picture(page, "composer-pipeline-light")
    clean(visit)

    page = visit.open("/serving")
    choose(visit, "prefetch-names", "three voices", "task_planning")
    page.get_by_role("button", name="Prefetch").click()
    expect(page.get_by_text(re.compile("is ready"))).to_have_count(2, timeout=60_000)
    visit.settle()
    picture(page, "serving-light")
    page = visit.open("/serving?serving-part=Versions+that+serve")
    choose_one(visit, "swap-name", "three voices")
    choose_one(visit, "swap-version-federation-three-voices", "1")
    page.get_by_role("button", name="Make it serve").click()
    page.get_by_role("button", name="Swap", exact=True).click()
    page.get_by_text("serves version 1.").wait_for(timeout=60_000)
    visit.settle()
    picture(page, "swap-light")
    page.get_by_role("button", name="Close", exact=True).last.click()
    visit.settle()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="Roll it back").click()
    page.get_by_text(re.compile(r"was rolled back in [\d.]+ ms")).wait_for()
    visit.settle()
    picture(page, "swaps-light")

    page = visit.open("/federation")
    choose_one(visit, "federation-saved", "three voices")
    page.get_by_text(re.compile("Versions of")).first.click()
    visit.settle()
    picture(page, "versions-light")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_text("compress", exact=True).click()
    visit.settle()
    page.get_by_role("button", name="Write it").click()
    page.get_by_text("Download the adapter").wait_for(timeout=60_000)
    visit.settle()
    picture(page, "export-light")
    clean(visit)


def test_a_gate_is_trained_and_its_report_read(
    new_visit: Callable[..., Any], picture: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/gates")
    page.locator(".st-key-gate-name input").fill("chooser")
    page.keyboard.press("Tab")
    visit.settle()
    choose(visit, "gate-adapters", "retailer_beta", "task_planning", "brand_pomelia")
    picture(page, "gate-form-light")
    page.get_by_role("button", name="Train the gate").click()
    page.get_by_text(re.compile("Running|Queued|Succeeded")).first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Open the report").wait_for(timeout=GATE_MS)
    page.get_by_role("button", name="Open the report").click()
    page.get_by_text("Is it better?").wait_for()
    visit.settle()
    picture(page, "gate-light")
    gate = page.url.partition("/gates")[2]
    look_on(new_visit, picture, f"/gates{gate}", "gate")
    page = visit.open("/gates")
    picture(page, "gates-light")
    clean(visit)


def choose_one(visit: Any, key: str, name: str) -> None:
    box = visit.page.locator(f".st-key-{key} input").first
    box.click()
    visit.page.get_by_role("option", name=re.compile(f"^{name}")).first.click()
    visit.settle()


def look_on(
    new_visit: Callable[..., Any], picture: Callable[[Page, str], None], path: str, name: str
) -> None:
    for look, how in LOOKS.items():
        other = new_visit(*how)
        page = other.open(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= how[1], f"{path} is {width} px wide"
        picture(page, f"{name}-{look}")
        clean(other)
