"""The demo adapters in models/adapters: trained again by the same code that trains everybody's."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.actions import training
from app.bootstrap import Console, build_console
from app.prepare import ensure_ready
from app.worker import run_job_here
from core.errors import UnavailableError
from core.jobs.records import JobState
from core.registry.records import AdapterType
from core.settings import PROJECT_ROOT, Settings
from core.storage.files import sync_directory
from core.tenants.records import Principal, Role

ADAPTERS = PROJECT_ROOT / "models" / "adapters"
SEED = 7


@dataclass(frozen=True, slots=True)
class ShippedAdapter:
    """One demo adapter: its name is the name of the dataset that it learned from."""

    dataset: str
    type: AdapterType
    preset: str = "balanced"


SHIPPED = (
    ShippedAdapter("retailer_beta", AdapterType.RETAILER),
    ShippedAdapter("task_planning", AdapterType.TASK),
    ShippedAdapter("brand_pomelia", AdapterType.BRAND),
)


def train_shipped(settings: Settings, tell: Callable[[str], None], *, to: Path = ADAPTERS) -> list[Path]:
    """Train each demo adapter in a home of its own and put it into `to`/<name>. Returns the folders.

    Raises UnavailableError with the reason of the job that failed; folders that are there stay as they are.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=".shipped-") as home:
        # Embedded databases of its own: a team's workspace must not see these runs.
        own = settings.model_copy(update={"home": Path(home), "database_url": "", "queue_url": ""})
        workspace = ensure_ready(own, lambda _: None)
        console = build_console(own)
        try:
            trainer = Principal(workspace.tenant_id, workspace.tenant_slug, "setup", Role.TRAINER)
            return [_train_one(console, trainer, adapter, tell, to) for adapter in SHIPPED]
        finally:
            console.close()


def _train_one(
    console: Console, trainer: Principal, adapter: ShippedAdapter, tell: Callable[[str], None], to: Path
) -> Path:
    tell(f"• Training {adapter.dataset} …")
    spec = training.plan_training(
        console,
        trainer,
        name=adapter.dataset,
        adapter_type=adapter.type,
        dataset=adapter.dataset,
        preset=adapter.preset,
        choices=training.TrainingChoices(seed=SEED),
    )
    job = training.submit_training(console, trainer, spec)
    run_job_here(console.settings, job.id)
    job = training.get_job(console, trainer, job.id)
    if job.state is not JobState.SUCCEEDED or job.result is None:
        error = job.error
        raise UnavailableError(
            f"The demo adapter {adapter.dataset} could not be trained: {error.what if error else job.state}.",
            error.why if error else "",
            error.next_step if error else "Run the command again.",
        )
    scores = job.result["evaluation"] or {}
    base, now = scores.get("base_exact_match"), scores.get("adapter_exact_match")
    if base is not None and now is not None:
        tell(f"  {job.result['seconds']:.0f} s, exact match {base:.1%} → {now:.1%} (n {scores.get('n')})")
    if scores.get("main_figure") == "answer_loss":
        tell(
            f"  loss per answer token {scores['base_answer_loss']:.2f} → {scores['adapter_answer_loss']:.2f} nats"
        )
    return _put(console.settings.adapters_dir / job.result["digest"], to / adapter.dataset)


def _put(published: Path, place: Path) -> Path:
    """Take the place of the folder that is there, whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = place.with_name(f".{place.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(published, staging)
    if place.exists():
        shutil.rmtree(place)
    staging.rename(place)
    sync_directory(place.parent)
    return place
