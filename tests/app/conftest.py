"""What tests of the app floor share: one console on SQLite with the shipped base, and a workspace of one's own each.

| fixture            | gives                                                                                |
|--------------------|--------------------------------------------------------------------------------------|
| `console`          | a real Console; one for all tests, because its engine takes seconds to open          |
| `workspace`        | a new workspace in it, with a principal and an API key of each role                  |
| `other_workspace`  | another one                                                                          |
| `new_workspace`    | function: console, name → a workspace in any console                                 |
| `api`              | a client of the REST API, in this process, errors answered and not raised            |
| `adapter_zip`      | an adapter package for the shipped base, with random weights and no manifest         |
| `training_file`    | a small training file                                                                |
"""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console, utc_now
from core.settings import Settings
from core.tenants import service as tenants
from core.tenants.records import Principal, Role, Tenant


@dataclass(frozen=True)
class Workspace:
    """A workspace, and who may do what in it."""

    tenant: Tenant
    users: dict[Role, str]
    keys: dict[Role, str]

    def principal(self, role: Role = Role.ADMIN) -> Principal:
        return Principal(self.tenant.id, self.tenant.name, f"{role}@test", role, user_id=self.users[role])

    def headers(self, role: Role = Role.ADMIN) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[role]}"}


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Console]:
    home = tmp_path_factory.mktemp("app-home")
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    built = build_console(Settings(home=home, upload_limit_mb=1, max_new_tokens=64))
    yield built
    built.close()


@pytest.fixture
def workspace(console: Console) -> Workspace:
    return make_workspace(console, "Alpha Stores")


@pytest.fixture
def other_workspace(console: Console) -> Workspace:
    return make_workspace(console, "Beta Market")


@pytest.fixture(scope="session")
def new_workspace() -> Callable[[Console, str], Workspace]:
    return make_workspace


def make_workspace(console: Console, name: str) -> Workspace:
    now = utc_now()
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name=name, now=now)
        users = {
            role: tenants.add_user(
                s, tenant.id, email=f"{role}@{tenant.slug}.example", name=role, role=role, now=now
            ).id
            for role in Role
        }
        keys = {
            role: tenants.create_api_key(
                s, tenant.id, name=role, role=role, created_by="test", now=now
            ).secret
            for role in Role
        }
    return Workspace(tenant, users, keys)


@pytest.fixture
def api(console: Console) -> Iterator[TestClient]:
    with TestClient(build_api(console), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def adapter_zip(console: Console) -> bytes:
    random = np.random.default_rng(3)
    tensors = {}
    for path, (outputs, inputs) in console.base().linears.items():
        if path.endswith("q_proj"):
            prefix = f"base_model.model.{path}"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(0, 0.02, (2, inputs)).astype(np.float32)
            tensors[f"{prefix}.lora_B.weight"] = random.normal(0, 0.02, (outputs, 2)).astype(np.float32)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "any",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "bias": "none",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("adapter_model.safetensors", save(tensors))
        archive.writestr("adapter_config.json", json.dumps(config))
    return packed.getvalue()


@pytest.fixture(scope="session")
def training_file() -> bytes:
    rows = [
        {"prompt": f"number {i}", "completion": f'{{"n": {i}}}', "split": split}
        for i, split in enumerate(["train"] * 16 + ["validation"] * 2 + ["test"] * 4)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="module")
def module_workspace(console: Console) -> Workspace:
    """One workspace for all tests of a module, for those that cannot have one each."""
    return make_workspace(console, "Gamma Shops")
