"""Make `.venv` and fill it with the pinned requirements. Runs on a bare Python 3.11: standard library only.

`python3 app/install.py` for running, `python3 app/install.py --dev` for tests and checks too. Does nothing when
the environment already holds what the requirement files ask for.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
NEEDED_GB = 4.0
TORCH = "torch==2.13.0"


class InstallError(Exception):
    """What failed, why, and what to do next."""


def main(arguments: list[str]) -> int:
    """Install what is missing; 0 when the environment is complete."""
    dev = "--dev" in arguments
    try:
        install(dev=dev)
    except InstallError as error:
        say(f"\n✗ {error}")
        return 1
    return 0


def install(*, dev: bool) -> None:
    """Bring `.venv` up to date. Raises InstallError with the reason of the step that failed."""
    wanted = fingerprint()
    if is_current("dev", wanted) or (not dev and is_current("run", wanted)):
        return
    check_python()
    check_disk()
    started = time.monotonic()
    if not (VENV / "bin" / "python").exists():
        step("Making the environment in .venv", [sys.executable, "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    limits = ["-c", str(ROOT / "constraints.txt")]
    # First, and alone: any other package that asks for torch would pull a build of several gigabytes.
    step("Installing PyTorch (1 of 2)", [*pip, *limits, TORCH])
    requirements = ROOT / ("requirements-dev.txt" if dev else "requirements.txt")
    step(f"Installing {requirements.name} (2 of 2)", [*pip, *limits, "-r", str(requirements)])
    stamp("dev" if dev else "run").write_text(wanted)
    if dev:
        stamp("run").write_text(wanted)
    say(f"✓ Installed in {time.monotonic() - started:.0f} s.")


def check_python() -> None:
    """Refuse a Python that the pinned packages were not tested with."""
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        raise InstallError(
            f"Python 3.11 is needed; this is {found} ({sys.executable}).\n"
            "  Install Python 3.11, or name it: make run PYTHON=/path/to/python3.11"
        )


def check_disk() -> None:
    """Refuse to begin what cannot end."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not VENV.exists():
        raise InstallError(
            f"Not enough disk: {free:.1f} GB are free here, {NEEDED_GB:.0f} GB are needed.\n"
            f"  Free some space on the disk that holds {ROOT}, then run the same command again."
        )


def step(title: str, command: list[str]) -> None:
    """Run one step, with a sign of life every few seconds. Raises InstallError with the likely reason."""
    say(f"• {title} …")
    started = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    )
    while True:
        try:
            output, _ = process.communicate(timeout=20)
            break
        except subprocess.TimeoutExpired:
            say(f"  still at it, {time.monotonic() - started:.0f} s")
        except KeyboardInterrupt:
            process.terminate()
            raise InstallError("Stopped. Run the same command again to go on.") from None
    if process.returncode != 0:
        raise InstallError(f"{title} failed.\n  {reason(output)}\n\n{tail(output)}")


def reason(output: str) -> str:
    """The likely cause in one sentence, and what to do."""
    text = output.lower()
    if "no space left" in text:
        return "The disk is full. Free some space, then run the same command again."
    if "ensurepip" in text:
        return "This Python lacks the venv module. On Debian or Ubuntu: apt-get install python3.11-venv"
    network = ("name resolution", "connection", "network is unreachable", "timed out", "proxy", "ssl")
    if any(sign in text for sign in network):
        return "The package index cannot be reached. Check the network or proxy, then run the same command again."
    if "no matching distribution" in text or "could not find a version" in text:
        return (
            "A pinned package is not offered for this machine or the package index cannot be reached.\n"
            "  Linux and macOS on 64-bit processors are supported. Check the network, then try again."
        )
    return "The last lines of its output follow."


def tail(output: str, lines: int = 12) -> str:
    """The end of what a step printed."""
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-lines:])


def fingerprint() -> str:
    """Changes whenever a requirement file does."""
    digest = hashlib.sha256(sys.version.encode())
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(kind: str) -> Path:
    """Where it is written down that the environment is complete."""
    return VENV / f".installed-{kind}"


def is_current(kind: str, wanted: str) -> bool:
    """Whether the environment holds what the requirement files ask for now."""
    return stamp(kind).exists() and stamp(kind).read_text() == wanted


def say(text: str) -> None:
    """Print at once, even into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
