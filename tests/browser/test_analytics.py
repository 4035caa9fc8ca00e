"""Analytics in a browser: nothing yet, then traffic; from a bar to its requests, an alert acknowledged, phone and dark."""

import math
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.analytics import alerts
from core.analytics.alert_records import AlertKind, Finding, default_rule
from core.analytics.recorder import Recorder
from core.analytics.records import RequestEvent
from core.settings import Settings
from core.storage.database import Database
from core.tenants import service as tenants

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
LOOKS = {"dark": ("dark", 1280, 900), "phone": ("light", 390, 844)}
HOURS = 72


@pytest.fixture(scope="module")
def traffic(running: Any) -> str:
    """Three days of simulated requests and an open alert, written by another process as it were; the alert's id."""
    database = Database(Settings(home=Path(running.home)).resolved_database_url)
    now, chance = datetime.now(UTC), random.Random(7)
    with database.reading() as s:
        tenant = tenants.list_tenants(s)[0].id
    recorder = Recorder(database)
    for hour in range(HOURS):
        at = now - timedelta(hours=HOURS - 1 - hour)
        for number in range(round(14 + 8 * math.sin(2 * math.pi * at.hour / 24))):
            name = chance.choice(("retailer_north", "retailer_south"))
            error = "timeout" if chance.random() < (0.02 if name == "retailer_north" else 0.15) else ""
            recorder.record(
                RequestEvent(
                    tenant, at.timestamp(), f"req_{hour}_{number}", name, "", ((name, "retailer"),), (), "mapping", error,
                    chance.lognormvariate(5, 0.5), 1.0, 0.5, 20.0, 200, 40, 0, "simulated",
                )
            )  # fmt: skip
    assert recorder.write()
    recorder.close()
    found = Finding(
        AlertKind.SUCCESS,
        "retailer_south",
        "retailer_south",
        "Fewer requests succeed.",
        "98.0% of requests succeeded, now 85.0%.",
        "Look at the requests behind it.",
    )
    with database.transaction() as s:
        alert = alerts.report(s, tenant, found, default_rule(AlertKind.SUCCESS), now=now)
    database.close()
    assert alert is not None
    return alert.id


def clean(visit: Any) -> None:
    assert visit.page.get_by_test_id("stException").count() == 0
    assert visit.complaints == []
    assert visit.foreign == []


def part(visit: Any, name: str) -> Page:
    visit.page.locator(".st-key-analytics-part").get_by_text(name, exact=True).click()
    visit.settle()
    page: Page = visit.page
    return page


def press_bar(page: Page, chart: str) -> None:
    """In the middle of the highest bar: where its lower half is."""
    plot = page.locator(f"[class*=st-key-{chart}] .bars path").filter(visible=True)
    boxes = [box for box in (plot.nth(number).bounding_box() for number in range(plot.count())) if box]
    box = max(boxes, key=lambda each: each["height"])
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7
    page.mouse.move(x - 3, y)  # a chart takes a press only for what it is hovered on
    page.wait_for_timeout(300)
    page.mouse.move(x, y)
    page.wait_for_timeout(600)
    page.mouse.down()
    page.wait_for_timeout(80)
    page.mouse.up()


def test_from_nothing_to_a_bar_to_its_requests(
    new_visit: Callable[..., Any], request: pytest.FixtureRequest, shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/analytics")
    if page.get_by_text("Nobody has asked anything yet.").count():  # unless another test has asked before
        page.get_by_role("button", name="Ask in the composer").wait_for()
    request.getfixturevalue("traffic")
    page = visit.open("/analytics?analytics-period=7+days")
    expect(page.get_by_test_id("stMetric")).to_have_count(8)
    page.get_by_text("Simulated data").first.wait_for()
    shoot(page, "analytics-light")
    visit.settle()
    page.locator("[class*=st-key-requests-chart]").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    press_bar(page, "requests-chart")
    page.get_by_text(re.compile(r"requests? in all, newest first")).wait_for()
    visit.settle()
    assert "analytics-part=Requests" in page.url
    assert "from=" in page.url
    shoot(page, "analytics-requests-light")
    page.reload()
    page.get_by_role("button", name="Whole period").click()
    visit.settle()
    assert "from=" not in page.url
    clean(visit)


def test_an_alert_is_acknowledged_and_stays_so(
    traffic: str, new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/")
    page.get_by_role("button", name="See alerts").click()
    page.get_by_text("98.0% of requests succeeded").wait_for()
    visit.settle()
    shoot(page, "analytics-alerts-light")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    page.get_by_text("Acknowledged (1)").wait_for()
    visit.settle()
    page.get_by_text("Acknowledged (1)").click()
    page.get_by_text(re.compile("acknowledged it just now")).wait_for()
    page.locator(f".st-key-requests-of-{traffic} button").click()
    page.get_by_text(re.compile(r"requests? in all, newest first")).wait_for()
    visit.settle()
    assert "retailer_south" in page.url
    clean(visit)


@pytest.mark.parametrize("look", LOOKS)
def test_every_part_draws_in_dark_and_on_a_phone(
    look: str, traffic: str, new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit(*LOOKS[look])
    for name in ("Traffic", "Adapters", "Trends", "Requests", "Alerts", "System"):
        page = visit.open(f"/analytics?analytics-part={name}&analytics-period=7+days")
        assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look][1], name
        shoot(page, f"analytics-{name.lower()}-{look}")
    clean(visit)


def test_the_live_view_keeps_the_reader_s_place(traffic: str, new_visit: Callable[..., Any]) -> None:
    visit = new_visit()
    page = visit.open("/analytics")
    clock = page.get_by_text(re.compile(r"until now, [\d:\u2060]+ UTC")).first
    before = clock.inner_text()
    page.locator(".st-key-heat-show").get_by_text("P95", exact=True).click()
    visit.settle()
    main = "document.querySelector('[data-testid=stMain]')"
    page.evaluate(f"{main}.scrollTo(0, 700)")
    page.wait_for_timeout(300)
    place = page.evaluate(f"{main}.scrollTop")
    expect(clock).not_to_have_text(before, timeout=30_000)
    page.wait_for_timeout(12_000)
    visit.settle()
    assert page.evaluate(f"{main}.scrollTop") == pytest.approx(place, abs=2)
    expect(page.get_by_text("P95 latency by hour of the week")).to_be_visible()
    clean(visit)
