"""What the attacks share: one console on SQLite with a tiny random base, and two workspaces full of things.

| fixture         | gives                                                                                       |
|-----------------|---------------------------------------------------------------------------------------------|
| `tiny_base`     | folder of a random two-layer base                                                           |
| `console`       | a real Console on it; one for all tests of the session, because its engine takes seconds    |
| `api`           | a client of the REST API, in this process; failures are answered and not raised             |
| `ours`, `theirs`| two new workspaces, each with datasets, a mapping, harmonized rows, an adapter, a job, …    |
| `adapter_zip`   | function: seed → an adapter package for the tiny base                                       |
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from app import harmonize_child
from app.api.application import build_api
from app.bootstrap import Console, build_console, utc_now
from core.jobs import service as jobs
from core.settings import Settings
from core.tenants import service as tenants
from core.tenants.records import Principal, Role
from core.training.progress import Stop
from tests.core.training.tiny_base import make_tiny_base

EXAMPLES = "".join(
    json.dumps({"prompt": f"say {i}", "completion": f'{{"n": {i % 3}}}', "split": split}) + "\n"
    for i, split in enumerate(["train"] * 16 + ["validation"] * 2 + ["test"] * 4)
).encode()

RAW = b"day,clicks\n2026-03-01,5\n2026-03-02,7\n"


@dataclass(frozen=True)
class Workspace:
    """A workspace, who may do what in it, and what it has."""

    tenant_id: str
    slug: str
    keys: dict[Role, str]
    key_ids: dict[Role, str]
    users: dict[Role, str]
    things: dict[str, str]

    def headers(self, role: Role = Role.ADMIN) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[role]}"}

    def principal(self, role: Role = Role.ADMIN) -> Principal:
        return Principal(self.tenant_id, self.slug, f"{role}@test", role, user_id=self.users[role])


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def console(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, tiny_base: Path
) -> Iterator[Console]:
    home = tmp_path_factory.mktemp("security-home")
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    settings = Settings(
        home=home, base_model=str(tiny_base), upload_limit_mb=4, max_new_tokens=64, training_threads=1
    )
    built = build_console(settings)
    yield built
    built.close()


@pytest.fixture
def api(console: Console) -> Iterator[TestClient]:
    with TestClient(build_api(console), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def adapter_zip(console: Console) -> Callable[..., bytes]:
    """Weights are large, so that different seeds give different answers."""

    def make(seed: int = 0, **extra: bytes) -> bytes:
        random = np.random.default_rng(seed)
        tensors = {}
        for path, (outputs, inputs) in console.base().linears.items():
            prefix = f"base_model.model.{path}"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(0, 0.3, (2, inputs)).astype(np.float32)
            tensors[f"{prefix}.lora_B.weight"] = random.normal(0, 0.3, (outputs, 2)).astype(np.float32)
        names = sorted({path.rpartition(".")[2] for path in console.base().linears})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "bias": "none"}
        files = {
            "adapter_model.safetensors": save(tensors),
            "adapter_config.json": json.dumps(config | {"target_modules": names}).encode(),
        }
        return packed(files | extra)

    return make


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def harmonize_now(console: Console, job_id: str) -> None:
    """What the worker does with a job, in this process."""
    with console.database.transaction() as s:
        job = jobs.claim(s, job_id, now=utc_now())
    assert job is not None
    assert harmonize_child.run_job(console.database, console.settings, job.id, job.fence, Stop()) == 0


def make_workspace(
    console: Console, api: TestClient, adapter_zip: Callable[..., bytes], name: str, seed: int
) -> Workspace:
    now = utc_now()
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name=name, now=now)
        users = {
            role: tenants.add_user(
                s, tenant.id, email=f"{role}@{tenant.slug}.example", name=f"{name} {role}", role=role, now=now
            ).id
            for role in Role
        }
        made = {
            role: tenants.create_api_key(s, tenant.id, name=role, role=role, created_by="test", now=now)
            for role in Role
        }
    keys = {role: new.secret for role, new in made.items()}
    key_ids = {role: new.key.id for role, new in made.items()}
    admin = {"authorization": f"Bearer {keys[Role.ADMIN]}"}

    def post(path: str, **body: Any) -> Any:
        answer = api.post(path, headers=admin, **body)
        assert answer.status_code in (201, 202), answer.text
        return answer.json()

    # The same names in every workspace: a name must never be enough.
    adapter = post("/adapters", files={"file": adapter_zip(seed)}, data={"name": "alpha", "type": "task"})
    dataset = post("/datasets", files={"file": EXAMPLES}, data={"name": "numbers"})
    federation = post(
        "/composition/federations", json={"name": "pair", "spec": {"terms": [{"adapter": adapter["id"]}]}}
    )
    choices = {"epochs": 1, "rank": 2, "max_length": 64}
    run = {"name": "beta", "adapter_type": "task", "dataset": "numbers", "choices": choices}
    job = post("/training/jobs", json=run)
    raw = post("/datasets/raw", files={"file": RAW}, data={"name": "export"})
    rules = [{"source_field": "clicks", "target": "clicks"}, {"source_field": "day", "target": "date_local"}]
    mapping = post("/mappings", json={"name": "mapped", "mapping": {"rules": rules}, "activate": True})
    harmonizing = post("/harmonize", json={"dataset": "export", "mapping": "mapped"})
    harmonize_now(console, harmonizing["id"])
    variants = [{"variant_id": "now", "model": "base"}, {"variant_id": "new", "model": "alpha"}]
    trial = post("/ab-testing/experiments", json={"name": "trial", "variants": variants})
    things = {
        "experiment": trial["experiment_id"],
        "raw": raw["id"],
        "mapping": mapping["mapping_id"],
        "version": mapping["id"],
        "harmonizing": harmonizing["id"],
        "run": harmonizing["id"].replace("job_", "run_"),
        "adapter": adapter["id"],
        "digest": adapter["digest"],
        "dataset": dataset["id"],
        "federation": federation["id"],
        "job": job["id"],
        "user": users[Role.TRAINER],
        "key": key_ids[Role.TRAINER],
        "tenant": tenant.id,
        "slug": tenant.slug,
    }
    return Workspace(tenant.id, tenant.slug, keys, key_ids, users, things)


@pytest.fixture
def ours(console: Console, api: TestClient, adapter_zip: Callable[..., bytes]) -> Workspace:
    return make_workspace(console, api, adapter_zip, "Alpha Stores", 1)


@pytest.fixture
def theirs(console: Console, api: TestClient, adapter_zip: Callable[..., bytes]) -> Workspace:
    return make_workspace(console, api, adapter_zip, "Beta Market", 2)
