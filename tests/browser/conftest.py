"""A real Chromium on the real processes: `python -m app up` in a home folder of its own.

| fixture     | gives                                                                           |
|-------------|---------------------------------------------------------------------------------|
| `running`   | the address and the one-time link of an installation that has just been started |
| `new_visit` | function: colour scheme, size → a signed-in page and what went wrong on it       |
| `shoot`     | function: page, name → a PNG of the whole screen under RMN_SCREENSHOTS, if set   |

One server and one browser serve all tests of this folder and are closed after the last of them: as long as
Playwright is open, an event loop runs in which no other test could start its own. Without Chromium these tests are
skipped, or fail where RMN_TESTS_REQUIRE_ALL is set.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from app.ports import next_free_port
from core.settings import PROJECT_ROOT

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
STAND_STILL = f"""
limit => new Promise((done, fail) => {{
  const began = performance.now();
  let still = began;
  const look = () => {{
    const now = performance.now();
    if (!document.querySelector('{IDLE}')) still = now;
    if (now - still >= 250) done();
    else if (now - began > limit) fail(new Error(`the script still runs after ${{limit}} ms`));
    else setTimeout(look, 25);
  }};
  look();
}})
"""
START_S = 180
SCREENSHOTS = os.environ.get("RMN_SCREENSHOTS")


@dataclass(frozen=True)
class Running:
    """An installation that answers. `link` signs its administrator in, once."""

    url: str
    link: str
    home: Path


@dataclass
class Visit:
    """A page of a signed-in person, with what a browser complained about and where it sent requests."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a screen and wait until it stands still."""
        self.page.goto(self.url + path)
        self.page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
        self.settle()
        return self.page

    def settle(self, timeout_s: float = 60) -> None:
        """Wait until the script has run and its result is drawn: until nothing has run for a moment."""
        try:
            self.page.evaluate(STAND_STILL, timeout_s * 1000)
        except PlaywrightError as error:
            if "context was destroyed" not in str(error):
                raise
            self.page.wait_for_load_state()  # the page itself was exchanged meanwhile
            self.page.evaluate(STAND_STILL, timeout_s * 1000)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = which("chromium") or which("chromium-browser") or which("google-chrome")
    if path is None:
        if os.environ.get("RMN_TESTS_REQUIRE_ALL"):
            pytest.fail("Chromium is missing: apt-get install chromium")
        pytest.skip("Chromium is missing")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def running(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("installation")
    # Each test process looks for its port in a range of its own.
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    port = next_free_port("127.0.0.1", 8601 + 100 * worker)
    environment = os.environ | {"RMN_HOME": str(home), "RMN_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    log = (home / "up.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "up"],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        link = wait_for_link(process, home / "up.log")
        yield Running(link.partition("/sign-in")[0], link, home)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def wait_for_link(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://\S+/sign-in/link\?token=\S+", log.read_text())
        if found:
            return found.group(0)
        time.sleep(0.3)
    raise AssertionError(f"no sign-in link within {START_S} s:\n{log.read_text()}")


@pytest.fixture(scope="package")
def signed_in(chromium: Browser, running: Running) -> dict[str, str]:
    """The session's cookie after opening the one-time link as a new user would."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(running.link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=60_000)
    cookie = next(c for c in context.cookies() if c["name"] == "rmn_session")
    context.close()
    return {"name": cookie["name"], "value": cookie["value"], "url": running.url}


@pytest.fixture
def new_visit(
    chromium: Browser, running: Running, signed_in: dict[str, str]
) -> Iterator[Callable[..., Visit]]:
    contexts: list[BrowserContext] = []

    def open_visit(scheme: str = "light", width: int = 1280, height: int = 900) -> Visit:
        context = chromium.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
        )
        context.add_cookies([signed_in])  # type: ignore[list-item]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        visit = Visit(page, running.url)

        def hear(message: ConsoleMessage) -> None:
            # Streamlit looks for itself below the path of a deep link first, and is told that it is not there.
            if message.type == "error" and "_stcore" not in message.location.get("url", ""):
                visit.complaints.append(message.text)

        def see(request: Request) -> None:
            if not request.url.startswith((running.url, "data:", "blob:")):
                visit.foreign.append(request.url)

        page.on("console", hear)
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", see)
        return visit

    yield open_visit
    for context in contexts:
        context.close()


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    def take(page: Page, name: str) -> None:
        if SCREENSHOTS is None:
            return
        size = page.viewport_size
        assert size is not None
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size(
            {"width": size["width"], "height": max(size["height"], min(int(height), 2400))}
        )
        page.wait_for_timeout(800)
        folder = Path(SCREENSHOTS)
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        page.set_viewport_size(size)

    return take
