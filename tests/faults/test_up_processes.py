"""`make run` as a user sees it: one link, everything stops on Ctrl-C, what dies is started again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/sign-in/link\?token=\S+")
Launcher = Callable[..., "Launch"]


class Launch:
    """One `python -m app up` with what it printed so far."""

    def __init__(self, home: Path, port: int) -> None:
        self.log = home.parent / f"up-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "up"],
                cwd=ROOT,
                env={**os.environ, "RMN_HOME": str(home), "RMN_PORT": str(port)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"no «{text}» in:\n{self.output}"
            assert self.process.poll() is None or text in self.output, self.output
            time.sleep(0.05)

    def link(self) -> str:
        self.wait_for("/sign-in/link?token=")
        found = LINK.search(self.output)
        assert found is not None, self.output
        return found[0]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def replaced(self, name: str, before: psutil.Process) -> bool:
        """Whether another child of that name runs. Between fork and exec there is none of that name."""
        found = [p.pid for p in self.children() if p.cmdline()[2:4] == ["app", name]]
        return bool(found) and before.pid not in found

    def child(self, name: str) -> psutil.Process:
        return next(p for p in self.children() if p.cmdline()[2:4] == ["app", name])


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    launches: list[Launch] = []

    def start(port: int = 8911) -> Launch:
        launches.append(Launch(tmp_path / "home", port))
        return launches[-1]

    yield start
    for running in launches:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(60)


def gone(processes: list[psutil.Process], seconds: float = 60) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def test_one_link_signs_in_once_and_ctrl_c_stops_everything(launch: Launcher) -> None:
    running = launch()
    link = running.link()
    assert len(LINK.findall(running.output)) == 1
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := CookieJar()))
    page = opener.open(link, timeout=60).read().decode()
    if "rmn_session" not in {cookie.name for cookie in jar}:
        assert "<form" in page  # a page that asks for one click, so that a link preview cannot spend the link
    children = running.children()
    assert {p.cmdline()[3] for p in children if p.cmdline()[1:3] == ["-m", "app"]} >= {"console", "worker"}
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert gone(children)
    assert "Traceback" not in running.output


def test_a_taken_port_is_said_and_passed_over(launch: Launcher, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = launch(port)
        link = running.link()
        assert f"Port {port} is taken" in running.output
        assert f":{port}/" not in link


def test_a_killed_console_and_a_killed_worker_are_started_again(launch: Launcher) -> None:
    running = launch()
    link = running.link()
    base = link.split("/sign-in")[0]
    for name in ("console", "worker"):
        before = running.child(name)
        before.send_signal(signal.SIGKILL)
        running.wait_for(f"The {name} stopped; starting it again.")
        deadline = time.monotonic() + 60
        while not running.replaced(name, before):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{base}/api/health", timeout=2) as answer:
                assert json.loads(answer.read())
                break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_when_the_launcher_is_killed_its_processes_stop_too(launch: Launcher) -> None:
    running = launch()
    running.link()
    children = running.children()
    assert len(children) >= 2
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(60)
    assert gone(children)


def test_a_second_call_prints_a_fresh_link_to_the_running_console(launch: Launcher) -> None:
    first = launch()
    link = first.link()
    second = launch()
    assert second.process.wait(60) == 0, second.output
    assert "runs already" in second.output
    other = second.link()
    assert other != link
    assert other.split("/sign-in")[0] == link.split("/sign-in")[0]


def test_a_second_start_takes_seconds(launch: Launcher) -> None:
    started = time.monotonic()
    first = launch()
    first.link()
    first_took = time.monotonic() - started
    first.process.send_signal(signal.SIGINT)
    first.process.wait(60)
    started = time.monotonic()
    launch().link()
    # On a machine that others use, too, «seconds» are a part of what the first start took there.
    assert time.monotonic() - started < max(20.0, 0.8 * first_took)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_home_that_cannot_be_written_is_said_without_a_traceback() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app", "up"],
        cwd=ROOT,
        env={**os.environ, "RMN_HOME": "/proc/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "cannot be written" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
