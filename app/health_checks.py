"""What this machine has and what this installation holds. Loads no model library and changes nothing."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from app.worker import a_worker_runs
from core.errors import RmnError
from core.registry.bases import describe_base
from core.registry.package import read_manifest
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import open_engine
from core.storage.digests import digest_adapter_folder
from core.storage.migrate import current_revision, is_current

MODELS_DIR = PROJECT_ROOT / "models"
GB = 1_000_000_000
PYTHON = (3, 11)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


class Status(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and what to do next where it is not as it should be."""

    name: str
    status: Status
    found: str
    next_step: str = ""


def check_installation(settings: Settings) -> list[Check]:
    """Everything, in the order in which it matters. A check that breaks is a finding of its own."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("torch", lambda: _package("torch", needed=True)),
        ("transformers", lambda: _package("transformers", needed=True)),
        ("peft", lambda: _package("peft", needed=True)),
        ("bitsandbytes", lambda: _package("bitsandbytes", needed=settings.base_quantization != "none")),
        ("cpu", _cores),
        ("memory", _memory),
        ("disk", lambda: _disk(settings)),
        ("gpu", lambda: _gpu(settings)),
        ("chromium", _chromium),
        ("home", lambda: _home(settings)),
        ("database", lambda: _database(settings)),
        ("base model", lambda: _base(settings)),
        ("adapters", lambda: _adapters(settings)),
        ("worker", lambda: _worker(settings)),
    ]
    return [_checked(name, check) for name, check in checks]


def _checked(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except RmnError as error:
        return Check(name, Status.FAIL, f"{error.what} {error.why}".strip(), error.next_step)
    except Exception as error:  # noqa: BLE001 - the others must still be told
        return Check(
            name, Status.FAIL, f"{type(error).__name__}: {str(error)[:200]}", "Look at this part first."
        )


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] == PYTHON:
        return Check("python", Status.OK, found)
    return Check("python", Status.FAIL, found, "Use Python 3.11: `make run` makes its own environment.")


def _package(name: str, *, needed: bool) -> Check:
    try:
        return Check(name, Status.OK, version(name))
    except PackageNotFoundError:
        status = Status.FAIL if needed else Status.WARN
        return Check(name, status, "not installed", "Run `make run`, which installs requirements.txt.")


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{usable} cores ({platform.machine()})"
    if usable >= 2:
        return Check("cpu", Status.OK, found)
    return Check("cpu", Status.WARN, found, "Training and answers take about twice as long as on two cores.")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f} GB"
    if memory.available >= 3 * GB:
        return Check("memory", Status.OK, found)
    if memory.available >= 1.5 * GB:
        return Check(
            "memory", Status.WARN, found, "Enough for the shipped base; close programs before you train."
        )
    return Check(
        "memory", Status.FAIL, found, "Close other programs: console and one training need about 1.5 GB."
    )


def _disk(settings: Settings) -> Check:
    place = next(folder for folder in (settings.home, *settings.home.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    found = f"{free / GB:.1f} GB free at {place}"
    if free >= 2 * GB:
        return Check("disk", Status.OK, found)
    status = Status.WARN if free >= 0.2 * GB else Status.FAIL
    return Check("disk", status, found, "Free some space, or set RMN_HOME to a larger disk.")


def _gpu(settings: Settings) -> Check:
    cards = list(_nvidia_cards())
    if cards:
        return Check("gpu", Status.OK, "; ".join(cards))
    if settings.device.startswith("cuda"):
        return Check("gpu", Status.FAIL, "none found", "Install the NVIDIA driver, or set RMN_DEVICE=auto.")
    return Check("gpu", Status.OK, "none; the CPU is used")


def _nvidia_cards() -> Iterator[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == 0:
        yield from (line.strip() for line in done.stdout.splitlines() if line.strip())


def _chromium() -> Check:
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found:
        return Check("chromium", Status.OK, found)
    return Check(
        "chromium", Status.WARN, "not found", "Only the browser tests need it: apt-get install chromium."
    )


def _home(settings: Settings) -> Check:
    if not settings.home.exists():
        return Check("home", Status.WARN, f"{settings.home} is not there yet", "`make run` makes it.")
    if os.access(settings.home, os.W_OK):
        return Check("home", Status.OK, str(settings.home))
    return Check("home", Status.FAIL, f"{settings.home} cannot be written", "Correct its permissions.")


def _database(settings: Settings) -> Check:
    engine = open_engine(settings.resolved_database_url) if settings.database_url else None
    kind = "sqlite" if engine is None else engine.dialect.name
    if engine is not None:
        engine.dispose()
    revision = current_revision(settings.resolved_database_url)
    if revision is None:
        return Check("database", Status.WARN, f"{kind}, not set up yet", "Run `python -m app db upgrade`.")
    if is_current(settings.resolved_database_url):
        return Check("database", Status.OK, f"{kind}, revision {revision}")
    return Check("database", Status.FAIL, f"{kind}, revision {revision}", "Run `python -m app db upgrade`.")


def _base(settings: Settings) -> Check:
    card = describe_base(settings.base_model, MODELS_DIR)
    if card.digest is None:
        return Check(
            "base model",
            Status.WARN,
            f"{card.name} is not on this disk yet",
            "It is fetched when it is first used.",
        )
    size = f"{(card.parameters or 0) / 1e6:,.1f} M parameters, {(card.size_bytes or 0) / 1e6:,.1f} MB"
    return Check("base model", Status.OK, f"{card.name}, {size}, digest {card.digest[:12]}")


def _adapters(settings: Settings) -> Check:
    folders = [path for path in sorted((MODELS_DIR / "adapters").glob("*")) if path.is_dir()]
    damaged = [folder.name for folder in folders if not _whole(folder)]
    trained = len(
        [path for path in settings.adapters_dir.glob("*") if path.is_dir() and not path.name.startswith(".")]
    )
    found = f"{len(folders)} shipped, {trained} stored in the home folder"
    if damaged:
        return Check("adapters", Status.FAIL, f"damaged: {', '.join(damaged)}", "Restore models/adapters.")
    if not folders:
        return Check("adapters", Status.WARN, found, "Restore models/adapters, or train your own.")
    digest = describe_base(settings.base_model, MODELS_DIR).digest
    strange = [folder.name for folder in folders if read_manifest(folder).base_digest != digest]
    if strange:
        return Check(
            "adapters",
            Status.WARN,
            f"{found}; made for another base: {', '.join(strange)}",
            "Train them for this base.",
        )
    return Check("adapters", Status.OK, found)


def _whole(folder: Path) -> bool:
    try:
        return digest_adapter_folder(folder) == read_manifest(folder).digest
    except (RmnError, OSError):
        return False


def _worker(settings: Settings) -> Check:
    if a_worker_runs(settings):
        return Check("worker", Status.OK, "one runs")
    return Check("worker", Status.OK, "none runs; `make run` starts one, `train --wait` needs none")
