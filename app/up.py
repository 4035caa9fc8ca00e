"""`make run`: everything in one go. Starts console and worker, prints one sign-in link, stops both on Ctrl-C.

Both are children of this process: one that dies is started again, and when this process is killed the kernel
tells them to stop. Only one runs per home folder; a second call prints a fresh link to the first.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

from app.ports import next_free_port
from app.prepare import PreparedWorkspace, ensure_ready
from core.errors import RmnError, UnavailableError
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.files import write_atomically
from core.tenants import service as tenants

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
ADDRESS_FILE = "up.json"
LOG_LIMIT_BYTES = 20_000_000
_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """One child process and when it was started, to see one that dies again and again."""

    name: str
    arguments: list[str]
    log_path: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only this process."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=PROJECT_ROOT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (one thread here)
            )
        self.starts.append(time.monotonic())

    def ended(self) -> bool:
        """Whether it was started and is gone."""
        return self.process is not None and self.process.poll() is not None

    def stop(self, deadline: float) -> None:
        """Ask it to stop; insist at `deadline` (monotonic seconds)."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def log_tail(self, lines: int = 8) -> str:
        """The end of what it logged."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(f"    {line[:300]}" for line in text.strip().splitlines()[-lines:])


class _Stop(Exception):
    """SIGTERM or Ctrl-C."""


def run(settings: Settings, say: Callable[[str], None] | None = None) -> int:
    """Set up, start, print the link, wait, stop. Returns the exit status."""
    tell = say or _print_now
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _raise_stop)
    parts: list[Part] = []
    try:
        workspace = ensure_ready(settings, lambda what: tell(f"• {what} …"))
        with _single_instance(settings) as running_at:
            if running_at is not None:
                tell(
                    f"\nRMN LoRA runs already. Sign in (works once):\n\n    {_link(settings, workspace, running_at)}\n"
                )
                return 0
            port = next_free_port(settings.host, settings.port)
            if port != settings.port:
                tell(f"• Port {settings.port} is taken; using {port}.")
            url = f"http://{_browser_host(settings.host)}:{port}"
            parts.extend(_parts(settings, port))
            for part in parts:
                tell(f"• Starting the {part.name} …")
                part.start()
            _wait_until_up(parts, url)
            _note_address(settings, url)
            tell(f"\nRMN LoRA is ready. Sign in (works once):\n\n    {_link(settings, workspace, url)}\n")
            tell(f"Stop with Ctrl-C. Logs: {settings.home / 'logs'}")
            _keep_running(parts, tell)
    except _Stop:
        tell("\nStopping …")
    except RmnError as error:
        tell(f"\n✗ {error.what}\n  {error.why}\n  {error.next_step}")
        return 1
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        _stop_all(parts, settings.drain_seconds + settings.finish_seconds + STOP_TIMEOUT_S)
    tell("Stopped.")
    return 0


def _parts(settings: Settings, port: int) -> list[Part]:
    logs = settings.home / "logs"
    environment = {
        **os.environ,
        "RMN_HOME": str(settings.home),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    address = ["--host", settings.host, "--port", str(port)]
    return [
        Part("console", ["console", *address], logs / "console.log", environment),
        Part("worker", ["worker"], logs / "worker.log", environment),
    ]


def _wait_until_up(parts: list[Part], url: str) -> None:
    """Until the console answers. Raises UnavailableError with the end of the log of a part that died."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for part in parts:
            if part.ended():
                raise UnavailableError(
                    f"The {part.name} did not start.",
                    f"Its log ends with:\n{part.log_tail()}",
                    f"See {part.log_path}.",
                )
        if _answers(f"{url}/api/health"):
            return
        time.sleep(0.15)
    raise UnavailableError(
        f"The console did not answer within {START_TIMEOUT_S:.0f} s.",
        f"Its log ends with:\n{parts[0].log_tail()}",
        f"See {parts[0].log_path}.",
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _keep_running(parts: list[Part], tell: Callable[[str], None]) -> None:
    """Start again what dies; give up on a part that dies five times in a minute."""
    while True:
        time.sleep(0.5)
        for part in parts:
            if not part.ended():
                continue
            recent = [start for start in part.starts if time.monotonic() - start < 60]
            if len(recent) >= 5:
                raise UnavailableError(
                    f"The {part.name} stops again and again.",
                    f"Its log ends with:\n{part.log_tail()}",
                    f"See {part.log_path}.",
                )
            tell(f"• The {part.name} stopped; starting it again.")
            part.start()


def _stop_all(parts: list[Part], patience_s: float) -> None:
    for part in parts:
        if part.process is not None and part.process.poll() is None:
            part.process.terminate()
    deadline = time.monotonic() + patience_s
    for part in parts:
        part.stop(deadline)


def _link(settings: Settings, workspace: PreparedWorkspace, url: str) -> str:
    database = Database(settings.resolved_database_url)
    try:
        with database.transaction() as session:
            token = tenants.make_sign_in_link(
                session,
                workspace.tenant_id,
                workspace.admin_user_id,
                minutes=settings.sign_in_link_minutes,
                now=datetime.now(UTC),
            )
    finally:
        database.close()
    return f"{url}/sign-in/link?token={token}"


@contextmanager
def _single_instance(settings: Settings) -> Iterator[str | None]:
    """Yields None to the first, and the first one's address to any other."""
    with (settings.home / ".up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _running_address(settings, lock)
            return
        # What an earlier run left behind: its address may be another program's by now.
        (settings.home / ADDRESS_FILE).unlink(missing_ok=True)
        yield None


def _running_address(settings: Settings, _lock: IO[str]) -> str:
    """Address of the instance that holds the lock; it may still be starting."""
    address_file = settings.home / ADDRESS_FILE
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if address_file.exists():
            url = str(json.loads(address_file.read_text())["url"])
            if _answers(f"{url}/api/health"):
                return url
        time.sleep(0.3)
    raise UnavailableError(
        "Another start is in progress in this folder and does not get ready.",
        f"It holds {settings.home / '.up.lock'}.",
        "Stop it, or set RMN_HOME to another folder.",
    )


def _note_address(settings: Settings, url: str) -> None:
    write_atomically(settings.home / ADDRESS_FILE, json.dumps({"url": url, "pid": os.getpid()}).encode())


def _browser_host(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (a comparison)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _raise_stop(_signum: int, _frame: FrameType | None) -> None:
    raise _Stop


def _print_now(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
