"""The command line, as a person and as a program use it."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer.main

from app.__main__ import build_cli, main
from app.health_checks import check_installation
from app.prepare import DEMO_SLUG
from core.settings import PROJECT_ROOT, Settings

Run = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A migrated home that every command uses; the log is given back as it was."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    monkeypatch.setenv("RMN_HOME", str(home))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield home
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its JSON answer, or with `text` what it prints. The exit status must be `status`."""

    def run_one(*arguments: str, status: int = 0, text: bool = False) -> Any:
        capsys.readouterr()
        found = main([*arguments, *([] if text else ["--json"])])
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        return out if text else json.loads(out)

    return run_one


def all_commands() -> Iterator[str]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if not inner:
            yield " ".join(path)
            return
        for name, sub in inner.items():
            yield from walk(sub, (*path, name))

    yield from walk(typer.main.get_command(build_cli()), ())


def test_every_command_is_described_and_in_the_guide() -> None:
    guide = (PROJECT_ROOT / "docs" / "command-line.md").read_text("utf-8")
    told = set(re.findall(r"python -m app ((?:[a-z]+)(?: [a-z]+)?)", guide))
    commands = set(all_commands())
    assert {"train", "adapters import", "db upgrade", "users link"} <= commands
    assert {command for command in commands if command not in told} == set()


def test_the_first_command_sets_everything_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "fresh"))
    assert main(["dataset", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "retailer_alpha" in {each["name"] for each in json.loads(out)}
    assert "Database" in err
    assert main(["db", "current", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["current"] is True


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["train"], ["adapters", "show"], ["jobs", "list", "--limit", "x"], ["infer", "--bad"]],
)
def test_wrong_usage_is_status_2(
    home: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "Traceback" not in err


def test_a_failure_is_status_1_with_what_why_and_next(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    error = run("adapters", "show", "nothing", status=1)["error"]
    assert error["code"] == "not_found"
    assert error["what"]
    assert error["next_step"]
    assert main(["adapters", "show", "nothing"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("✗ There is no adapter «nothing».")


def test_an_unknown_workspace_is_not_found(run: Run) -> None:
    assert run("jobs", "list", "--tenant", "nobody", status=1)["error"]["code"] == "not_found"
    assert run("jobs", "list", "--tenant", DEMO_SLUG) == []


def test_adapters_are_imported_shown_asked_exported_archived_and_restored(
    run: Run, tmp_path: Path, adapter_zip: bytes
) -> None:
    package = tmp_path / "a.zip"
    package.write_bytes(adapter_zip)
    assert run("adapters", "import", str(package), status=1)["error"]["code"] == "invalid_input"
    made = run("adapters", "import", str(package), "--name", "random", "--type", "task")
    assert [a["id"] for a in run("adapters", "list", "--type", "task") if a["source"] == "imported"] == [
        made["id"]
    ]
    shown = run("adapters", "show", "random@1")
    assert shown["manifest"]["rank"] == 2
    assert made["digest"] in run("adapters", "show", "random", text=True)

    answer = run(
        "infer", "--adapter", "random:0.5", "--adapter", made["id"], "--prompt", "x", "--max-new-tokens", "2"
    )
    assert [(a["name"], a["weight"]) for a in answer["adapters"]] == [("random", 1.5)]

    written = run("adapters", "export", "random", "--to", str(tmp_path))
    again = run("adapters", "import", written["path"], "--name", "copy")
    assert again["digest"] == made["digest"]

    assert run("adapters", "archive", "random")["state"] == "archived"
    gone = run("infer", "--adapter", "random", "--prompt", "x", status=1)
    assert gone["error"]["code"] == "conflict"
    assert run("adapters", "restore", made["id"])["state"] == "active"


def test_a_federation_is_saved_shown_and_asked(run: Run, tmp_path: Path, adapter_zip: bytes) -> None:
    package = tmp_path / "a.zip"
    package.write_bytes(adapter_zip)
    run("adapters", "import", str(package), "--name", "random", "--type", "task")
    run("federation", "save", "Half", "--adapter", "random:0.25")
    assert run("federation", "save", "Half", "--adapter", "random:0.5", "--description", "x")["version"] == 2
    assert run("federation", "show", "Half@1")["spec"]["terms"] == [
        {"adapter": "random", "weight": 0.25, "layers": None}
    ]
    assert [f["name"] for f in run("federation", "list")] == ["Half"]
    assert "0.5·random" in run("federation", "list", text=True)
    answer = run("infer", "--federation", "Half", "--prompt", "x", "--max-new-tokens", "1")
    assert [a["weight"] for a in answer["adapters"]] == [0.5]
    assert run("federation", "show", "none", status=1)["error"]["code"] == "not_found"
    whole = tmp_path / "pipeline.json"
    stage = {"name": "first", "composition": {"terms": [{"adapter": "random", "layers": [0, 0]}]}}
    whole.write_text(json.dumps({"method": "sequential", "stages": [stage]}))
    run("federation", "save", "Line", "--composition", str(whole))
    assert "first: 1·random [0–0]" in run("federation", "show", "Line", text=True)


@pytest.mark.parametrize("text", ["random:99", ":1", "random:-9"])
def test_a_weight_that_no_adapter_may_have_is_refused(run: Run, text: str) -> None:
    assert run("infer", "--adapter", text, "--prompt", "x", status=1)["error"]["code"] in (
        "invalid_input",
        "not_found",
    )


def test_datasets_are_imported_checked_and_exported(run: Run, tmp_path: Path, training_file: bytes) -> None:
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(training_file)
    made = run("dataset", "import", str(file), "--type", "task")
    assert (made["name"], made["rows"]) == ("numbers", 22)
    assert run("dataset", "check", "numbers")["trainable"] is True
    written = Path(run("dataset", "export", "numbers", "--to", str(tmp_path / "out.jsonl"))["path"])
    assert written.read_bytes() == training_file
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "completion": "b", "split": "train"}\n')
    run("dataset", "import", str(bad))
    checked = run("dataset", "check", "bad", status=1)
    assert checked["trainable"] is False
    assert "error" in {problem["severity"] for problem in checked["problems"]}


def test_people_get_links_and_programs_keys(run: Run) -> None:
    run("users", "add", "ann@shop.example", "--role", "trainer", "--name", "Ann")
    link = run("users", "link", "ANN@shop.example", "--base-url", "https://console.example/")
    assert link["url"].startswith("https://console.example/sign-in/link?token=")
    assert {u["email"]: u["role"] for u in run("users", "list")}["ann@shop.example"] == "trainer"
    assert run("users", "link", "nobody@shop.example", status=1)["error"]["code"] == "not_found"

    made = run("keys", "create", "robot", "--role", "viewer", "--days", "30")
    assert made["secret"].startswith("rmn_")
    assert made["secret"] not in json.dumps(run("keys", "list"))
    assert run("keys", "revoke", made["key"]["id"])["revoked_at"]
    assert "revoked" in run("keys", "list", text=True)
    verdict = run("audit", "verify")
    assert verdict["first_bad_seq"] is None
    assert run("audit", "verify", "--anchored-head", verdict["head"])["entries"] == verdict["entries"]
    assert run("audit", "verify", "--anchored-head", "0" * 63 + "1", status=1)["problem"]


def test_a_link_leads_to_where_the_console_runs(run: Run, home: Path) -> None:
    noted = home / "up.json"
    noted.write_text(json.dumps({"url": "http://127.0.0.1:8599", "pid": os.getpid()}))
    assert run("users", "link", "admin@demo.example")["url"].startswith("http://127.0.0.1:8599/sign-in/link?")
    noted.write_text(json.dumps({"url": "http://127.0.0.1:8599", "pid": 2**22 + 1}))
    assert run("users", "link", "admin@demo.example")["url"].startswith("http://127.0.0.1:8501/sign-in/link?")


def test_a_database_that_was_never_set_up_is_a_finding(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "none"))
    assert run("db", "current", status=1) == {"revision": None, "current": False}
    assert not (tmp_path / "none").exists()
    assert run("db", "upgrade")["revision"]
    assert run("db", "current")["current"] is True


def test_a_job_is_submitted_shown_and_cancelled(run: Run, tmp_path: Path, training_file: bytes) -> None:
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(training_file)
    job = run(
        "train", "--dataset", str(file), "--type", "task", "--name", "numbers", "--epochs", "1", "--rank", "2"
    )
    assert (job["state"], job["spec"]["epochs"], job["submitted_by"]) == ("queued", 1.0, "command line")
    assert "fence" not in job
    assert run("jobs", "show", job["id"])["points"] == []
    assert [j["id"] for j in run("jobs", "list", "--state", "queued")] == [job["id"]]
    assert run("jobs", "cancel", job["id"])["state"] == "cancelled"
    assert run("jobs", "cancel", "job_none", status=1)["error"]["code"] == "not_found"


@pytest.mark.slow
def test_train_waits_and_answers_with_one_object(run: Run, tmp_path: Path, training_file: bytes) -> None:
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(training_file)
    asked = (
        "--dataset",
        str(file),
        "--type",
        "task",
        "--name",
        "numbers",
        "--epochs",
        "1",
        "--rank",
        "2",
        "--wait",
    )
    made = run("train", *asked)
    assert (made["name"], made["state"]) == ("numbers", "succeeded")
    assert made["seconds"] > 0
    assert made["evaluation"]["n"] == 4
    shares = ("base_exact_match", "adapter_exact_match", "base_field_accuracy", "adapter_field_accuracy")
    assert all(0.0 <= made["evaluation"][share] <= 1.0 for share in shares)
    adapter = run("adapters", "show", made["adapter_id"])
    assert (adapter["digest"], adapter["job_id"]) == (made["digest"], made["job_id"])
    assert run("infer", "--adapter", "numbers", "--prompt", "number 3", "--max-new-tokens", "1")["adapters"]


def test_doctor_looks_at_everything_and_changes_nothing(tmp_path: Path) -> None:
    checks = {check.name: check for check in check_installation(Settings(home=tmp_path / "none"))}
    assert {
        "python",
        "torch",
        "cpu",
        "memory",
        "disk",
        "gpu",
        "database",
        "base model",
        "adapters",
    } <= checks.keys()
    assert checks["database"].status == "warn"
    assert checks["python"].status == "ok"
    assert re.search(r"digest [0-9a-f]{12}", checks["base model"].found)
    assert all(check.next_step for check in checks.values() if check.status != "ok")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"base_model": "nothing-of-the-kind"}, "base model"),
        ({"database_url": "postgresql://nobody@127.0.0.1:1/none"}, "database"),
        ({"device": "cuda"}, "gpu"),
    ],
)
def test_doctor_names_what_is_broken(tmp_path: Path, wrong: dict[str, str], name: str) -> None:
    if name == "gpu" and shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    checks = {c.name: c for c in check_installation(Settings(home=tmp_path, **wrong))}
    assert (checks[name].status, bool(checks[name].next_step)) == ("fail", True)


def test_doctor_answers_a_program_without_loading_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from app.__main__ import main; main(['doctor', '--json']); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={**os.environ, "RMN_HOME": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = json.loads(done.stdout)
    assert told["status"] in ("ok", "warn", "fail")
    assert {"name", "status", "found", "next_step"} == set(told["checks"][0])
    assert done.stderr.split()[-1] == "False"


def test_a_base_is_trained_from_the_generated_corpus(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.training import pretrain  # brings torch, which the other tests here do without

    small = {"hidden_size": 32, "layers": 1, "heads": 2, "feed_forward": 64, "vocabulary_size": 320}
    fast = {"tokenizer_documents": 60, "documents_per_step": 8, "rows_per_step": 2, "compile": False}
    monkeypatch.setattr(pretrain, "PretrainRecipe", partial(pretrain.PretrainRecipe, **small, **fast))
    made = run("base", "train", "--steps", "2", "--to", str(tmp_path / "base"))
    assert made["steps"] == 2
    assert made["final_loss"] > 0
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        f.name for f in (tmp_path / "base").iterdir()
    }


@pytest.mark.parametrize("part", ["console", "api"])
def test_a_taken_port_is_told_before_anything_is_loaded(
    home: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([part, "--port", port]) == 1
    assert capsys.readouterr().err.startswith(f"✗ Port {port} on 127.0.0.1 cannot be listened on.")


def test_the_demo_data_can_be_registered_again_and_again(run: Run) -> None:
    first, second = run("demo"), run("demo")
    assert first == second
    assert first["datasets"] >= 5


def test_what_could_move_the_cursor_of_a_terminal_is_shown_as_a_sign(run: Run) -> None:
    run("users", "add", "eve@shop.example", "--name", "Eve \u202e\u2066")
    text = run("users", "list", text=True)
    assert "\u202e" not in text
    assert "eve@shop.example" in text
