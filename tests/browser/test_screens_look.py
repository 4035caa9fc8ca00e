"""All screens in light, dark and at phone width: they draw, complain about nothing, and do not overflow."""

import re
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Page

from app.ui.screens import OVERVIEW, SCREENS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
LOOKS = {"light": ("light", 1280, 900), "dark": ("dark", 1280, 900), "phone": ("light", 390, 844)}
TABLE_VIEWS = ("datasets", "adapters")


@pytest.mark.parametrize("look", LOOKS)
def test_every_screen_draws_cleanly(
    look: str, new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit(*LOOKS[look])
    for screen in SCREENS:
        page = visit.open("/" if screen is OVERVIEW else f"/{screen.name}")
        assert page.get_by_role("heading", level=1).inner_text() == screen.title
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= LOOKS[look][1], f"{screen.name} is {width} px wide"
        assert page.get_by_test_id("stException").count() == 0
        shoot(page, f"screen-{screen.name}-{look}")
    assert visit.complaints == []
    assert visit.foreign == []


def test_details_draw_cleanly(new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]) -> None:
    visit = new_visit()
    for name in TABLE_VIEWS:
        page = visit.open(f"/{name}")
        page.get_by_text("Table", exact=True).click()
        visit.settle()
        shoot(page, f"screen-{name}-table")
        page.get_by_text("Cards", exact=True).click()
        visit.settle()
        details = page.get_by_role("button", name="Details")
        if details.count():
            details.first.click()
            page.get_by_text(re.compile(f"All {name}")).wait_for()
            visit.settle()
            shoot(page, f"screen-{name}-detail")
    assert visit.complaints == []


def test_the_first_heading_of_a_warm_screen_is_there_within_a_second_and_pages_switch_faster(
    new_visit: Callable[..., Any],
) -> None:
    visit = new_visit()
    visit.open("/")
    rounds = [usual_switch(visit)]
    while rounds[-1] >= 1.0 and len(rounds) < 3:  # others may have kept the machine busy
        rounds.append(usual_switch(visit))
    assert min(rounds) < 1.0, rounds


def usual_switch(visit: Any) -> float:
    """Median seconds from a click in the navigation to the heading of that screen."""
    switches = []
    for title in ("Datasets", "Adapters", "Overview") * 3:
        started = time.monotonic()
        visit.page.get_by_test_id("stSidebarNav").get_by_text(title, exact=True).click()
        visit.page.get_by_role("heading", name=title, level=1).wait_for()
        switches.append(time.monotonic() - started)
        visit.settle()
    return median(switches)


def test_destructive_actions_ask_and_then_act(new_visit: Callable[..., Any]) -> None:
    visit = new_visit()
    page = visit.open("/datasets")
    page.locator(".st-key-train-brand_pomelia button").click()
    page.get_by_text("Next: review").wait_for()
    visit.settle()
    name = page.get_by_role("textbox", name="Name of the adapter")
    name.fill("to be cancelled")
    name.press("Tab")
    visit.settle()
    page.get_by_text("Next: review").click()
    page.get_by_text("Start training").wait_for()
    visit.settle()
    page.get_by_text("Start training").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("This cannot be undone").wait_for()
    page.get_by_role("button", name="Keep it running").click()
    visit.settle()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_text(re.compile("Cancelled")).first.wait_for(timeout=240_000)
    assert visit.complaints == []


def test_nothing_is_shown_without_a_session(chromium: Any, running: Any) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(running.url + "/datasets")
    assert "/sign-in" in page.url
    page.goto(running.link)  # a link is good for one sign-in
    page.wait_for_timeout(1500)
    assert page.get_by_role("heading", name="Overview").count() == 0
    context.close()
