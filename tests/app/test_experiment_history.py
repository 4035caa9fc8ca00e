"""Decisions about an experiment, read from the audit log by everybody who may see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.actions import experiment_history, experiments
from app.bootstrap import Console, build_console
from core.errors import NotFoundError
from core.experiments.records import ArmDraft, ExperimentDraft
from core.settings import Settings
from core.storage.migrate import upgrade
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import Principal, Role


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    settings = Settings(home=tmp_path)
    upgrade(settings.resolved_database_url)
    built = build_console(settings)
    yield built
    built.close()


@pytest.fixture
def trainer(console: Console) -> Principal:
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Test", simulated=True, now=console.clock()).id
    return Principal(tenant, "Test", "trainer@demo.example", Role.TRAINER)


def make(console: Console, trainer: Principal, name: str) -> None:
    arms = (ArmDraft(id="a"), ArmDraft(id="b"))
    experiments.create_experiment(console, trainer, ExperimentDraft(id=name, name=name, arms=arms))


def test_a_viewer_reads_what_was_done_with_one_experiment_newest_first(
    console: Console, trainer: Principal
) -> None:
    make(console, trainer, "one")
    make(console, trainer, "two")
    experiments.start_experiment(console, trainer, "one")
    experiments.stop_experiment(console, trainer, "one", "Enough.")
    with console.database.transaction() as s:  # another thing of the same name
        audit.append(
            s, tenant_id=trainer.tenant_id, actor="x", action="key.made", subject="one", now=console.clock()
        )
    viewer = Principal(trainer.tenant_id, "Test", "viewer@demo.example", Role.VIEWER)
    found = experiment_history.list_decisions(console, viewer, "one")
    assert [entry.action for entry in found] == [
        "experiment.stopped",
        "experiment.started",
        "experiment.created",
    ]
    assert found[0].detail["reason"] == "Enough."


def test_of_another_workspace_there_is_nothing_to_read(console: Console, trainer: Principal) -> None:
    make(console, trainer, "one")
    stranger = Principal("ten_other", "Other", "x@demo.example", Role.ADMIN)
    with pytest.raises(NotFoundError):
        experiment_history.list_decisions(console, stranger, "one")
