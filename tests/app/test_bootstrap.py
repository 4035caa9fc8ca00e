"""The wiring: started without model libraries, opened once, honest about failures."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from app import engine as engine_module
from app.bootstrap import Console, SharedConsole, build_console, shared_console
from app.engine import BaseOnDemand, EngineOnDemand
from core.errors import RefusedFileError, UnavailableError
from core.settings import PROJECT_ROOT, Settings

HEAVY = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes")


@pytest.mark.parametrize(
    "module", ["app.bootstrap", "app.asgi", "app.__main__", "app.api.application", "app.main", "app.worker"]
)
def test_starting_loads_no_model_library(module: str, tmp_path: Path) -> None:
    # app.main is a script of its own: reading it is enough, its imports are what is asked about.
    load = (
        f"import {module}"
        if module != "app.main"
        else "import ast, importlib\n"
        "for node in ast.parse(open('app/main.py').read()).body:\n"
        "    if isinstance(node, ast.ImportFrom): importlib.import_module(node.module)"
    )
    code = f"import sys\n{load}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={"PATH": "/usr/bin:/bin", "RMN_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_database_that_was_never_set_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="db upgrade"):
        build_console(Settings(home=tmp_path))


def test_the_engine_is_opened_once_by_many_threads(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Settings] = []
    gate = threading.Event()

    def open_slowly(settings: Settings, *_: object) -> Any:
        opened.append(settings)
        gate.wait(60)
        return object()

    monkeypatch.setattr(engine_module, "open_engine", open_slowly)
    engine = EngineOnDemand(console.settings)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(engine())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert not engine.loaded
    gate.set()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len(set(map(id, found))) == 1
    assert engine.loaded


@pytest.mark.parametrize(
    "failure",
    [RefusedFileError("Bad weights.", "They are pickled.", "Use safetensors."), RuntimeError("out of luck")],
)
def test_a_failure_to_open_is_told_to_each_and_tried_again(
    console: Console, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    answers: list[Any] = [failure, failure, object()]

    def open_in_turn(*_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(engine_module, "open_engine", open_in_turn)
    engine = EngineOnDemand(console.settings)
    for _ in range(2):
        with pytest.raises(UnavailableError) as told:
            engine()
        assert str(failure).split()[0] in told.value.why
        assert told.value.next_step
    assert engine() is engine()


def test_a_base_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    engine = EngineOnDemand(Settings(home=tmp_path, base_model="nothing-of-the-kind"))
    with pytest.raises(UnavailableError, match="no base model «nothing-of-the-kind»"):
        engine()


def test_after_closing_nothing_is_opened(console: Console) -> None:
    engine = EngineOnDemand(console.settings)
    engine.close()
    with pytest.raises(UnavailableError, match="stopping"):
        engine()


def test_closing_does_not_wait_for_what_is_being_opened_and_that_is_freed(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        closed = False

        def close(self) -> None:
            self.closed = True

    slow, began, go = Slow(), threading.Event(), threading.Event()

    def open_slowly(*_: object) -> Any:
        began.set()
        go.wait(60)
        return slow

    monkeypatch.setattr(engine_module, "open_engine", open_slowly)
    engine = EngineOnDemand(console.settings)
    opening = engine.open_in_background()
    assert began.wait(60)
    engine.close()
    assert not slow.closed
    go.set()
    opening.join()
    assert slow.closed
    assert not engine.loaded


def test_a_failure_in_the_background_does_not_end_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineOnDemand(Settings(home=tmp_path, base_model="nothing-of-the-kind"))
    engine.open_in_background().join()
    assert "engine.not_opened" in caplog.text


def test_the_base_that_answers_comes_first(console: Console) -> None:
    base = BaseOnDemand(console.settings)
    assert base() is base()
    cards = base.cards()
    assert cards[0].name == console.settings.base_model
    assert cards[0].digest == base().digest
    assert len({card.name for card in cards}) == len(cards)


def test_a_base_that_is_only_named_cannot_check_adapters(tmp_path: Path) -> None:
    base = BaseOnDemand(Settings(home=tmp_path, base_model="some-owner/some-model"))
    with pytest.raises(UnavailableError, match="not on this disk"):
        base()
    assert base.cards()[0].digest is None


def test_screens_share_the_console_that_was_set(console: Console) -> None:
    shared = SharedConsole()
    shared.set(console)
    assert shared() is console
    assert isinstance(shared_console, SharedConsole)
