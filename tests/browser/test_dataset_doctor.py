"""A person with a flawed set: examined, mended with undo, split, exported; and examples written in a form."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
WORDS = ("oak", "glass", "wool", "clay", "steel", "cork")


def write_set(path: Path) -> Path:
    """Plain rows of several lengths, with stray space, a repeat, an address, and two answers to one question."""
    rows = [
        {
            "prompt": f"What is item {n} of the {word} line made of, and how is it cared for?" * (1 + n % 3),
            "completion": f"Of {word}, piece {n}. Wipe it dry. " + "Keep it out of the sun. " * (n % 7),
        }
        for n, word in enumerate(WORDS * 20)
    ]
    rows += [{"prompt": f"  Who sells lamp {n}?", "completion": f"Shop {n} does.  "} for n in (1, 2, 3)]
    rows.append(dict(rows[4]))
    rows.append({"prompt": "Whom do I ask?", "completion": "Write to anna.berg@harborvale.example today."})
    rows.append({"prompt": "Is the vase back?", "completion": "Yes, since May."})
    rows.append({"prompt": "Is the vase back?", "completion": "No, it is sold out."})
    rows = [
        row | {"split": ("train", "train", "train", "validation", "test")[n % 5]}
        for n, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def import_set(visit: Any, path: Path, name: str) -> Page:
    page: Page = visit.open("/datasets")
    page.get_by_text("Import a dataset").click()
    visit.settle()
    page.locator(".st-key-dataset-file input[type=file]").set_input_files(str(path))
    page.get_by_role("textbox", name="Name").fill(name)
    visit.settle()
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    page.get_by_role("heading", name=name, level=1).wait_for()
    visit.settle()
    return page


def press(visit: Any, label: str) -> None:
    visit.page.get_by_role("button", name=re.compile(re.escape(label))).first.click()
    visit.settle()


def open_tab(visit: Any, name: str) -> None:
    visit.page.get_by_role("tab", name=name).click()
    visit.settle()
    assert visit.page.get_by_test_id("stException").count() == 0


def test_a_flawed_set_is_examined_mended_split_and_exported(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None], tmp_path: Path
) -> None:
    visit = new_visit(height=1000)
    page = import_set(visit, write_set(tmp_path / "flawed.jsonl"), "house questions")
    shoot(page, "dataset-rows-light")
    open_tab(visit, "Problems")
    page.get_by_text(re.compile(r"of 100, (excellent|good|fair|poor)")).wait_for()
    shoot(page, "dataset-problems-light")
    press(visit, "Fix: trim white space")
    page.get_by_text("3 rows would change").wait_for()
    shoot(page, "dataset-fix-light")
    press(visit, "Trim white space now")
    page.get_by_text("Version 1 is kept").wait_for()
    visit.settle()
    assert page.get_by_role("button", name="Fix: trim white space").count() == 0
    open_tab(visit, "Versions")
    page.get_by_text("What differs").wait_for()
    shoot(page, "dataset-versions-light")
    open_tab(visit, "Lengths and balance")
    page.get_by_text("Length of the examples").first.wait_for()
    page.wait_for_timeout(800)
    shoot(page, "dataset-balance-light")
    press(visit, "Undo")
    page.get_by_text("This is version 1").wait_for(state="detached")
    split_it(visit, shoot)
    export_it(visit, shoot)
    assert visit.complaints == []
    assert visit.foreign == []


def split_it(visit: Any, shoot: Callable[[Page, str], None]) -> None:
    page = visit.page
    press(visit, "Split anew")
    page.get_by_role("dialog").get_by_text("What must not be on both sides").wait_for()
    shoot(page, "dataset-split-light")
    page.get_by_role("dialog").get_by_role("button", name="Split now").click()
    page.get_by_text("dealt out whole").wait_for()
    visit.settle()
    assert page.get_by_role("dialog").count() == 0


def export_it(visit: Any, shoot: Callable[[Page, str], None]) -> None:
    page = visit.page
    press(visit, "Export")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Prepare the file").click()
    button = dialog.get_by_role("button", name=re.compile("Download"))
    button.wait_for()
    visit.settle()
    shoot(page, "dataset-export-light")
    with page.expect_download() as begun:
        button.click()
    lines = Path(begun.value.path()).read_text("utf-8").splitlines()
    assert begun.value.suggested_filename == "house-questions.prompt_completion.jsonl"
    assert len(lines) == 6 * 20 + 7
    assert {"prompt", "completion", "split"} <= json.loads(lines[0]).keys()
    page.keyboard.press("Escape")
    visit.settle()
    assert page.get_by_role("dialog").count() == 0


def test_all_sets_are_examined_while_the_library_stays_usable(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/datasets")
    shoot(page, "datasets-unexamined-light")
    page.get_by_role("button", name="Examine all").click()
    page.get_by_text("Not examined yet").first.wait_for(state="detached", timeout=120_000)
    visit.settle(120)
    assert page.get_by_role("button", name="Examine all").count() == 0
    assert page.get_by_text(re.compile(r"\d+\.\d (excellent|good|fair|poor)")).count() > 1
    shoot(page, "datasets-examined-light")
    assert visit.complaints == []


def test_examples_from_a_form_become_a_set(
    new_visit: Callable[..., Any], shoot: Callable[[Page, str], None]
) -> None:
    visit = new_visit()
    page = visit.open("/datasets?build=task")
    page.get_by_role("textbox", name="Objective").fill("Spend 50,000 USD on organic tea in March.")
    page.get_by_role("textbox", name="Tool").fill("plan_budget")
    page.get_by_role("textbox", name="Argument 1").fill("total_budget")
    page.get_by_role("textbox", name="Value").first.fill("50000")
    page.get_by_role("textbox", name="Value").first.press("Tab")
    page.get_by_text("It should answer").wait_for()
    visit.settle()
    shoot(page, "dataset-build-task-light")
    press(visit, "Put it on the list")
    page.get_by_text("On the list: 1").wait_for()
    page.get_by_role("textbox", name="Name of the new set").fill("my briefs")
    page.get_by_role("textbox", name="Name of the new set").press("Tab")
    visit.settle()
    press(visit, "Save 1 row")
    page.get_by_role("heading", name="my briefs", level=1).wait_for()
    assert visit.complaints == []


@pytest.mark.parametrize(("look", "scheme", "width"), [("dark", "dark", 1280), ("phone", "light", 390)])
def test_the_detail_draws_cleanly(
    look: str,
    scheme: str,
    width: int,
    new_visit: Callable[..., Any],
    shoot: Callable[[Page, str], None],
    tmp_path: Path,
) -> None:
    visit = new_visit(scheme, width, 900)
    page = import_set(visit, write_set(tmp_path / "flawed.jsonl"), f"questions {look}")
    for tab in ("Problems", "Lengths and balance", "Versions", "Card", "Rows"):
        open_tab(visit, tab)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        shoot(page, f"dataset-{tab.split()[0].lower()}-{look}")
    page = visit.open("/datasets?build=brand")
    shoot(page, f"dataset-build-brand-{look}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.complaints == []
    assert visit.foreign == []
