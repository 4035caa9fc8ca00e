"""Rules about the source files themselves."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for name in ("app", "core", "pages") for path in (ROOT / name).rglob("*.py"))
HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")
NAMES_THAT_HIDE = re.compile(
    r"(utils|helpers|common|manager|handler|processor|enhanced|advanced|realtime|_v2)"
)
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "module", ["app.asgi", "app.__main__", "app.api.application", "app.worker", "app.bootstrap"]
)
def test_importing_an_entry_point_loads_no_torch(module: str) -> None:
    code = (
        f"import importlib, sys; importlib.import_module({module!r}); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().splitlines()[-1] == "[]"


def test_what_the_screens_are_made_of_loads_no_torch() -> None:
    modules = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "app" / "ui").rglob("*.py"))
    parts = sorted(".".join(module.parts).removesuffix(".__init__") for module in modules)
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {parts!r}]; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("folder", ["datasets", "models"])
def test_no_python_lives_beside_the_data(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    # An __init__.py in datasets/ would shadow the Hugging Face package of that name.
    assert list((ROOT / folder).rglob("*.py")) == []


def test_module_names_say_what_is_in_them() -> None:
    wrong = [str(path.relative_to(ROOT)) for path in SOURCES if NAMES_THAT_HIDE.search(path.stem)]
    assert wrong == []


def test_nothing_is_unpickled_evaluated_or_run_through_a_shell() -> None:
    wrong: list[str] = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                shell = any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords)
                trusts = any(
                    k.arg == "trust_remote_code" and ast.unparse(k.value) != "False" for k in node.keywords
                )
                banned = called in (
                    "eval",
                    "exec",
                    "pickle.load",
                    "pickle.loads",
                    "torch.load",
                    "yaml.load",
                    "os.system",
                )
                if banned or shell or trusts:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                if any(name.split(".")[0] in ("pickle", "cloudpickle", "dill") for name in names):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} import of a pickle module")
    assert wrong == []


def test_no_assert_guards_the_running_product() -> None:
    """`python -O` removes asserts, so no check may hang on one."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert wrong == []


def test_screens_inject_no_html_and_no_css() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.is_relative_to(ROOT / "pages") or path.is_relative_to(ROOT / "app" / "ui")
        if re.search(
            r"unsafe_allow_html|st\.html\(|<style|components\.v1\.html|unsafe_allow_javascript",
            path.read_text(),
        )
    ]
    assert wrong == []


def test_every_requirement_is_pinned_and_torch_comes_first() -> None:
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    assert lines[0] == "torch==2.13.0"
    dev = (ROOT / "requirements-dev.txt").read_text().splitlines()
    lines += [line for line in dev if line and not line.startswith(("#", "-r"))]
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for line in lines:
        assert "==" in line, line
        assert re.sub(r"\[.*\]", "", line).lower().replace("_", "-") in pinned, (
            f"{line} is not in constraints.txt"
        )


def run_check(*command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def test_ruff_finds_nothing() -> None:
    run_check(str(BIN / "ruff"), "check", ".")


def test_the_code_is_formatted() -> None:
    run_check(str(BIN / "ruff"), "format", "--check", ".")
