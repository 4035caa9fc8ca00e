"""The walk of a person with a file of a retailer that nobody has seen: to harmonized rows in ten clicks and a minute."""

import random
import re
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
MOST_CLICKS = 10
MOST_SECONDS = 60
ROWS = 600
HEAD = (
    "Report: Sponsored Products by day and placement\n"
    "Retailer: Harbor & Vale\n"
    "Time zone: America/Chicago\n"
    "Currency: USD\n"
    "\n"
    "Report Date,Campaign Name,Campaign Id,Ad Placement,Device,Targeted Keyword,Ad Impressions,Ad Clicks,CTR,"
    "Spend,14 Day Total Sales,7 Day Total Sales,14 Day Total Orders,14 Day New To Brand Sales,ROAS,Item UPC,Pod Ref\n"
)
PLACES = ("Search Grid", "Product Page", "Home Banner", "Checkout")


def write_file(path: Path) -> Path:
    """A plausible export: a preamble, dollars with signs, ids with leading zeros, two windows, rates, an unknown column."""
    dice = random.Random(7)
    rows = [HEAD]
    for number in range(ROWS):
        day = date(2026, 3, 1) + timedelta(days=number // 20)
        shown = dice.randint(200, 9000)
        clicks = dice.randint(0, shown // 40)
        spend = round(clicks * dice.uniform(0.4, 1.6), 2)
        week = round(spend * dice.uniform(0, 6), 2)
        sales = round(week * dice.uniform(1, 1.4), 2)
        orders = max(1, int(sales // 18)) if sales else 0
        new = round(sales * dice.uniform(0, 0.5), 2) if orders > 1 else 0.0
        campaign = dice.randint(1, 12)
        roas = f"{sales / spend:.2f}" if spend else ""
        rows.append(
            f"{day:%m/%d/%Y},Spring {campaign:02d},{700000000000000000 + campaign * 7},{dice.choice(PLACES)},"
            f"{dice.choice(('Desktop', 'Mobile', 'App'))},organic tea {campaign},{shown},{clicks},{clicks / shown:.4%},"
            f'${spend:.2f},"${sales:,.2f}","${week:,.2f}",{orders},${new:.2f},{roas},'
            f"0{dice.randint(10**10, 10**11 - 1)},{dice.choice(('k1', 'k2', 'q9'))}\n"
        )
    path.write_text("".join(rows))
    return path


class Clicks:
    """Counts what a person has to do with the mouse, and how long it takes."""

    def __init__(self, visit: Any) -> None:
        self.visit = visit
        self.count = 0
        self.begun = time.monotonic()

    def __call__(self, label: str) -> None:
        self.count += 1
        self.visit.page.get_by_role("button", name=re.compile(re.escape(label))).first.click()

    def upload(self, path: Path) -> None:
        self.count += 1
        self.visit.page.locator(".st-key-mapping-file input[type=file]").set_input_files(str(path))

    def seconds(self) -> float:
        return time.monotonic() - self.begun


def wait_for(page: Page, text: str) -> None:
    page.get_by_text(text).first.wait_for(timeout=120_000)


def drawn(visit: Any) -> Page:
    """The page once everything stands: the script has run and nothing is shown as a grey bar any more."""
    visit.settle(120)
    page: Page = visit.page
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=60_000)
    return page


def test_a_new_retailers_file_becomes_checked_rows_in_ten_clicks_and_a_minute(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    file = write_file(tmp_path / "harbor vale march.csv")
    visit = new_visit(height=1000)
    page = visit.open("/mappings")
    shoot(drawn(visit), "mappings-empty-light")
    click = Clicks(visit)
    click("New retailer from a file")
    page.get_by_text("From this computer").wait_for()
    visit.settle()
    click.upload(file)
    wait_for(page, "Propose a mapping")
    visit.settle()
    pauses = pause(lambda: shoot(drawn(visit), "mapping-card-light"))
    click("Propose a mapping")
    wait_for(page, "The first rows, before and after")
    visit.settle()
    pauses += pause(lambda: shoot(drawn(visit), "mapping-editor-light"))
    click("Accept all above 90")
    visit.settle()
    click("Check and harmonize")
    wait_for(page, "Every total is kept")
    visit.settle()
    click("Put this mapping into use")
    wait_for(page, "In use")
    seconds = click.seconds() - pauses
    print(f"\n{click.count} clicks, {seconds:.1f} s from the file to harmonized rows")
    assert click.count <= MOST_CLICKS
    assert seconds <= MOST_SECONDS
    visit.settle()
    shoot(drawn(visit), "mapping-result-light")
    look_at_the_result(visit, shoot)
    look_at_the_rows(visit, shoot)
    look_at_the_list(visit, shoot)
    assert visit.complaints == []
    assert visit.foreign == []


def pause(look: Callable[[], None]) -> float:
    """What taking a picture costs; it is not part of the walk."""
    begun = time.monotonic()
    look()
    return time.monotonic() - begun


def look_at_the_result(visit: Any, shoot: Callable[[Page, str], None]) -> None:
    page = visit.page
    for tab in ("Findings", "Rows", "Compare", "Files"):
        page.get_by_role("tab", name=tab).click()
        visit.settle()
        assert page.get_by_test_id("stException").count() == 0
        shoot(drawn(visit), f"mapping-result-{tab.lower()}-light")


def look_at_the_rows(visit: Any, shoot: Callable[[Page, str], None]) -> None:
    page = visit.page
    page.get_by_role("button", name="Look at the rows").click()
    wait_for(page, "Side by side")
    visit.settle()
    page.get_by_placeholder("Words in any column").fill("checkout")
    page.get_by_placeholder("Words in any column").press("Enter")
    visit.settle()
    shoot(drawn(visit), "data-browser-light")
    for tab in ("SKU catalog", "Uplift priors", "Performance metrics", "Audiences"):
        page.get_by_role("tab", name=tab).click()
        visit.settle()
        assert page.get_by_test_id("stException").count() == 0
    shoot(drawn(visit), "data-browser-audiences-light")


def look_at_the_list(visit: Any, shoot: Callable[[Page, str], None]) -> None:
    page = visit.open("/mappings")
    shoot(drawn(visit), "mappings-light")
    page.get_by_role("button", name="Open", exact=True).first.click()
    wait_for(page, "Open in the editor")
    visit.settle()
    shoot(drawn(visit), "mapping-detail-light")


@pytest.mark.parametrize(("look", "scheme", "width"), [("dark", "dark", 1280), ("phone", "light", 390)])
def test_the_editor_and_the_result_draw_cleanly(
    look: str,
    scheme: str,
    width: int,
    new_visit: Callable[..., Any],
    shoot: Callable[[Page, str], None],
    tmp_path: Path,
) -> None:
    file = write_file(tmp_path / f"harbor vale {look}.csv")
    visit = new_visit(scheme, width, 900)
    page = visit.open("/mappings?new=1")
    page.locator(".st-key-mapping-file input[type=file]").set_input_files(str(file))
    wait_for(page, "Propose a mapping")
    visit.settle()
    shoot(drawn(visit), f"mapping-card-{look}")
    page.get_by_role("button", name="Propose a mapping").click()
    wait_for(page, "The first rows, before and after")
    visit.settle()
    shoot(drawn(visit), f"mapping-editor-{look}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Check and harmonize").click()
    wait_for(page, "Every total is kept")
    visit.settle()
    shoot(drawn(visit), f"mapping-result-{look}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Look at the rows").click()
    wait_for(page, "Side by side")
    visit.settle()
    shoot(drawn(visit), f"data-browser-{look}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.complaints == []
    assert visit.foreign == []


def test_the_keyboard_walks_through_the_columns_and_a_reload_keeps_the_draft(
    new_visit: Callable[..., Any], tmp_path: Path
) -> None:
    visit = new_visit()
    page = visit.open("/mappings?new=1")
    page.locator(".st-key-mapping-file input[type=file]").set_input_files(
        str(write_file(tmp_path / "keys.csv"))
    )
    wait_for(page, "Propose a mapping")
    visit.settle()
    page.get_by_role("button", name="Propose a mapping").click()
    wait_for(page, "The first rows, before and after")
    visit.settle()
    visit.page.goto(page.url.split("&column")[0] + "&column=0")
    wait_for(page, "The first rows, before and after")
    visit.settle()
    for key, place in (
        ("Alt+ArrowDown", "1"),
        ("Alt+ArrowDown", "2"),
        ("Alt+ArrowUp", "1"),
        ("Alt+Enter", "2"),
    ):
        drawn(visit)
        page.keyboard.press(key)
        page.wait_for_url(re.compile(f"column={place}$"))
    page.reload()
    wait_for(page, "The first rows, before and after")
    visit.settle()
    assert "column=2" in page.url
    drawn(visit)
    page.keyboard.press("Alt+ArrowUp")
    page.wait_for_url(re.compile("column=1$"))
    page.get_by_text(re.compile("Accepted")).first.wait_for()
    assert visit.complaints == []
