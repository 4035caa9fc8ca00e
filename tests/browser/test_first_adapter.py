"""The walk of a new user: open the link, choose a set, train, see the lift, compose, ask."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]
TRAINING_S = 1500


class Clicks:
    """Counts what a person has to click."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def __call__(self, label: str, *, within: str = "body") -> None:
        self.count += 1
        self.page.locator(within).get_by_text(label, exact=True).first.click()


def test_from_the_library_to_an_answer_of_the_composition(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/datasets")
    shoot(page, "datasets-light")

    click = Clicks(page)
    click("Train an adapter", within=".st-key-train-retailer_alpha")
    page.get_by_text("Next: review").wait_for()
    visit.settle()
    click("Quick")
    visit.settle()
    click("Next: review")
    page.get_by_text("Start training").wait_for()
    visit.settle()
    shoot(page, "training-review-light")
    click("Start training")
    page.get_by_text(re.compile("Running|Queued")).first.wait_for()
    assert click.count <= 5
    assert "job=" in page.url

    page.get_by_text("Training loss").wait_for(timeout=TRAINING_S * 1000)
    page.reload()  # a run survives a closed browser; the address knows which one it was
    page.get_by_text(re.compile(r"step ([5-9]\d|\d{3}) of")).wait_for(timeout=TRAINING_S * 1000)
    page.locator(".js-plotly-plot .main-svg").nth(3).wait_for()
    shoot(page, "training-light")

    page.get_by_text("Better than the base?").wait_for(timeout=TRAINING_S * 1000)
    visit.settle()
    lift = page.get_by_test_id("stMetric").filter(has_text="Lift, points").get_by_test_id("stMetricValue")
    assert float(lift.inner_text().replace("\u2060", "")) > 0
    shoot(page, "job-light")

    page.get_by_text("Ask it in the composer").click()
    page.get_by_role("heading", name="Side by side").wait_for()
    visit.settle()
    add_second_adapter(visit)
    page.get_by_text("retailer_alpha · 1").click()
    visit.settle()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text(re.compile(r"\d+ tokens in"))).to_have_count(2, timeout=180_000)
    visit.settle()
    for answer in page.get_by_test_id("stCode").all()[-2:]:
        assert len(answer.inner_text().strip()) > 2
    shoot(page, "federation-light")
    shoot(visit.open("/adapters"), "adapters-light")

    assert visit.complaints == []
    assert visit.foreign == []


def add_second_adapter(visit: Any) -> None:
    """A brand adapter, where one is shipped, at a weight that leaves the facts alone."""
    box = visit.page.locator(".st-key-composer-brand input")
    box.click()
    option = visit.page.get_by_role("option").first
    if option.is_visible() and "No" not in option.inner_text()[:3]:
        option.click()
        box.press("Escape")
        visit.settle()
        handle = visit.page.locator(".st-key-composer-weights").get_by_role("slider").last
        handle.focus()
        for _ in range(15):
            handle.press("ArrowLeft")
        visit.settle()
    else:
        box.press("Escape")
