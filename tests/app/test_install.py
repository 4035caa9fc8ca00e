"""Setting up says what it does and, when it cannot, why."""

import shutil
import sys
from pathlib import Path

import pytest

from app import install


def test_a_failed_step_says_the_likely_reason(capsys: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('Temporary failure in name resolution'); sys.exit(1)"
    with pytest.raises(install.InstallError, match="Check the network"):
        install.step("Installing", [sys.executable, "-c", program])
    assert "Installing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "Free some space"),
        ("Error: ensurepip is not available", "apt-get install python3.11-venv"),
        ("Connection to the proxy was refused", "Check the network"),
        ("ERROR: Could not find a version that satisfies the requirement", "pinned package"),
        ("something nobody foresaw", "last lines"),
    ],
)
def test_each_known_failure_has_an_advice(output: str, advice: str) -> None:
    assert advice in install.reason(output)


def test_the_wrong_python_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    with pytest.raises(install.InstallError, match=r"Python 3\.11 is needed; this is 3\.12\.1"):
        install.check_python()


def test_a_full_disk_is_said_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "VENV", tmp_path / "none")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    with pytest.raises(install.InstallError, match=r"0\.1 GB are free"):
        install.check_disk()


def test_a_changed_requirement_file_means_installing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_text("a==1\n")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    before = install.fingerprint()
    (tmp_path / "constraints.txt").write_text("a==2\n")
    assert install.fingerprint() != before
