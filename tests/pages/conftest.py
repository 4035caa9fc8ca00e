"""Screens on a real console: a database of its own, a small workspace, people of every role.

| fixture   | gives                                                                       |
|-----------|-----------------------------------------------------------------------------|
| `console` | a real Console on a copy of a small workspace; the screens of the test use it |
| `sign_in` | function: role → a token of a real session of a person of that role         |
| `open_as` | function: role, screen, **query → an AppTest that has run that screen       |
| `follow`  | function: AppTest, screen → the same after the script itself switched there |
| `read`    | function: text as it was sent to the browser → text as people read it       |
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from app.bootstrap import Console, build_console, shared_console
from app.ui import visit
from app.ui.text import WORD_JOINER
from core.datasets import service as datasets
from core.jobs import service as jobs
from core.jobs.records import JobError, JobPoint
from core.registry import service as registry
from core.registry.bases import read_base_facts
from core.registry.package import build_manifest
from core.registry.records import AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.files import sha256_of
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.tenants.records import Role
from core.training.records import AnswerLoss, Evaluation, Proportion, SampleAnswer, SliceScore

BASE = PROJECT_ROOT / "models" / "base" / "rmn-tiny-llama"
NAMES = {Role.VIEWER: "Vera", Role.REVIEWER: "Rui", Role.TRAINER: "Tove", Role.ADMIN: "Ada"}


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with people, two sets, two adapters and a job in every state."""
    home = tmp_path_factory.mktemp("workspace")
    settings = Settings(home=home)
    upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    now = datetime.now(UTC)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Test workspace", simulated=True, now=now).id
        for role, name in NAMES.items():
            tenants.add_user(s, tenant, email=f"{role}@demo.example", name=name, role=role, now=now)
        for number, (name, kind) in enumerate((("retailer_test", "retailer"), ("brand_test", "brand"))):
            file = write_set(home / "sets" / f"{name}.jsonl", kind)
            card = {
                "name": name,
                "title": f"{name}: a set",
                "kind": "sft",
                "adapter_type": kind,
                "simulated": True,
            }
            card |= {"description": f"A small {kind} set.", "rows": 40, "digest": sha256_of(file)}
            made = datasets.register_file(
                s, tenant, path=file, card=card, name=name, now=now + timedelta(seconds=number)
            )
            job = add_jobs(s, tenant, made.id, now) if kind == "retailer" else None
            adapter = add_adapter(s, tenant, home / "made" / name, name, AdapterType(kind), made.digest, now)
            if job is not None:
                result = {
                    "adapter_id": adapter.id,
                    "digest": adapter.digest,
                    "evaluation": stored_evaluation(),
                }
                jobs.succeed(s, job.id, job.fence, result=result, now=now)
    database.close()
    return home


def write_set(path: Path, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(40):
        split = "train" if number < 28 else "validation" if number < 32 else "test"
        prompt = f"Harmonize: row {number}" if kind == "retailer" else f"Write: product {number}"
        answer = (
            json.dumps({"clicks": number, "cost": number / 4}) if kind == "retailer" else f"Calm {number}."
        )
        place = "new_values" if split == "test" else None
        rows.append({"prompt": prompt, "completion": answer, "split": split, "slice": place})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def add_jobs(s: Any, tenant: str, dataset_id: str, now: datetime) -> Any:
    """One failed, one cancelled, one waiting, one running, and one that is ready to succeed, which is returned."""

    def submit(name: str) -> Any:
        spec = {"dataset_id": dataset_id}
        return jobs.submit(
            s, tenant, kind="train", name=name, spec=spec, submitted_by="trainer@demo.example", now=now
        )

    def run(name: str) -> Any:
        job = jobs.claim(s, submit(name).id, now=now)
        for step in (10, 20, 30):
            point = JobPoint(
                step, now, loss=3 / step, validation_loss=4 / step, learning_rate=1e-3, grad_norm=1.0
            )
            jobs.report(
                s,
                job.id,
                job.fence,
                stage="training",
                step=step,
                total_steps=60,
                eta_s=12.0,
                point=point,
                now=now,
            )
        return job

    failed = run("failed run")
    error = JobError("The loss is no longer a number.", "The rate is too large.", "Lower it.")
    jobs.fail(s, failed.id, failed.fence, error=error, now=now)
    jobs.request_cancel(s, tenant, submit("cancelled run").id, now=now)
    submit("waiting run")
    run("running run")
    return run("finished run")


def add_adapter(
    s: Any, tenant: str, folder: Path, name: str, kind: AdapterType, dataset_digest: str, now: datetime
) -> Any:
    """A random adapter of rank 2 on the query layers of the shipped base."""
    folder.mkdir(parents=True)
    shape = json.loads((BASE / "config.json").read_text())
    width = shape["hidden_size"]
    random = np.random.default_rng(len(name))
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = random.normal(0, 0.02, (2, width)).astype(np.float32)
        tensors[f"{prefix}.lora_B.weight"] = random.normal(0, 0.02, (width, 2)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | {"bias": "none", "lora_dropout": 0.0}))
    base = read_base_facts(BASE, name="rmn-tiny-llama")
    manifest = build_manifest(
        verify_folder(folder, base=base),
        name=name,
        type=kind,
        base=base,
        now=now,
        simulated=True,
        dataset_name=name,
        dataset_digest=dataset_digest,
        evaluation=stored_evaluation(prose=kind is AdapterType.BRAND),
    )
    return registry.register_adapter(
        s, tenant, folder=folder, manifest=manifest, source=AdapterSource.TRAINED, base=base, now=now
    )


def stored_evaluation(*, prose: bool = False) -> dict[str, Any]:
    def share(value: float, n: int) -> Proportion:
        return Proportion(value, max(0.0, value - 0.1), min(1.0, value + 0.1), n)

    def score(n: int, adapter: float) -> SliceScore:
        pairs = (share(0.1, n), share(adapter, n))
        lift = (adapter - 0.1, adapter - 0.2, adapter)
        if prose:
            losses = (AnswerLoss(2.5, 2.25, 2.75, n, 10 * n), AnswerLoss(0.75, 0.5, 1.0, n, 10 * n))
            return SliceScore(n, *pairs, lift, None, None, None, None, *losses, (-1.75, -2.0, -1.5))
        return SliceScore(n, *pairs, lift, *pairs, *pairs)

    answer = '{"clicks": 1, "cost": 0.25}'
    samples = (SampleAnswer("Harmonize: row 1", answer, '{"clicks": 2}', answer, "new_values"),)
    scores = {"new_values": score(8, 0.9), "held_out_columns": score(4, 0.4)}
    evaluation = Evaluation("new_values", scores["new_values"], scores, samples, "d" * 64, 1.5)
    return json.loads(json.dumps(asdict(evaluation)))


@pytest.fixture
def console(workspace: Path, tmp_path: Path) -> Iterator[Console]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(workspace / "rmn.sqlite", home / "rmn.sqlite")
    built = build_console(Settings(home=home, serving_threads=1))
    shared_console.set(built)
    yield built
    shared_console.set(None)
    built.close()


@pytest.fixture
def sign_in(console: Console, monkeypatch: pytest.MonkeyPatch) -> Callable[[Role], str]:
    def sign(role: Role) -> str:
        with console.database.transaction() as s:
            tenant = tenants.list_tenants(s)[0].id
            user = tenants.find_user(s, tenant, f"{role}@demo.example")
            assert user is not None
            link = tenants.make_sign_in_link(s, tenant, user.id, minutes=5, now=console.clock())
            token = tenants.redeem_sign_in_link(s, link, hours=1, now=console.clock()).token
        monkeypatch.setattr(visit, "session_token", lambda: token)  # the one thing that only a browser has
        return token

    return sign


@pytest.fixture
def open_as(sign_in: Callable[[Role], str]) -> Callable[..., AppTest]:
    def open_screen(role: Role, screen: str = "overview", **query: str) -> AppTest:
        sign_in(role)
        at = AppTest.from_file(str(PROJECT_ROOT / "app" / "main.py"), default_timeout=30)
        at.run()
        if screen != "overview":
            at.switch_page(f"../pages/{screen}.py")
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception
        return at

    return open_screen


@pytest.fixture
def follow() -> Callable[[AppTest, str], AppTest]:
    """A script that switches the page leaves AppTest on the old one; a browser would stand on the new one."""

    def go(at: AppTest, screen: str) -> AppTest:
        query = {name: at.query_params[name] for name in at.query_params}
        at.switch_page(f"../pages/{screen}.py")
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception
        return at

    return go


@pytest.fixture
def read() -> Callable[[str], str]:
    return lambda text: re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace(WORD_JOINER, "")
