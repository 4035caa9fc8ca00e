"""What an adapter of a shipped training set adds to the shipped base, through the product's own training.

    python benchmarks/adapter_lift.py [--sets retailer_alpha …] [--preset balanced] [--threads 2] [--base rmn-tiny-llama]

Each set is registered, trained as a job and evaluated on its test rows, of which the training saw none. Prints
JSON: for each set and slice n, exact match and field accuracy of base and adapter with 95 % intervals (Wilson;
fields clustered by row), and the seconds that training took. The retailers are fictitious.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.datasets import cards
from core.datasets import service as datasets
from core.demo.retailers import TEST_RETAILERS
from core.jobs import service as jobs
from core.registry.bases import describe_base
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.training import service as training
from core.training.presets import plan_spec
from core.training.progress import Stop

SETS = [f"retailer_{spec.slug}" for spec in TEST_RETAILERS]


def now() -> datetime:
    return datetime.now(UTC)


def train_on(
    name: str, preset: str, settings: Settings, database: Database, tenant_id: str
) -> dict[str, Any]:
    """Train one set as a job and return its figures."""
    from core.training.runner import run_training

    card_path = PROJECT_ROOT / "datasets" / "sft" / f"{name}.card.json"
    card = cards.read_card(card_path)
    with database.transaction() as s:
        dataset = datasets.register_file(
            s, tenant_id, path=cards.file_of_card(card_path), card=card, name=name, now=now()
        )
        spec = plan_spec(preset, str(card["adapter_type"]), dataset, name)
        known = training.look_up(s, tenant_id, spec)
    work = training.prepare(spec, known, settings=settings)
    with database.transaction() as s:
        job, _ = training.submit(s, tenant_id, work, submitted_by="benchmark", now=now())
    with database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=now(), lapsed_before=now())
    assert claimed is not None
    run_training(claimed, database=database, settings=settings, stop=Stop(), clock=now)
    with database.reading() as s:
        done = jobs.get(s, tenant_id, job.id)
    assert done.result is not None, done.error
    return {"spec": spec.model_dump(mode="json"), **figures(done.result)}


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """The part of a job's result that the benchmark states."""
    fitted, evaluation = result["training"], result["evaluation"]
    kept = (
        "n",
        "base_exact_match",
        "adapter_exact_match",
        "base_field_accuracy",
        "adapter_field_accuracy",
        "base_answer_loss",
        "adapter_answer_loss",
    )
    return {
        "train_seconds": round(fitted["seconds"], 1),
        "steps": fitted["steps"],
        "train_loss": round(fitted["final_loss"], 5),
        "slices": {
            name: {key: _rounded(score[key]) for key in kept} for name, score in evaluation["slices"].items()
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: round(number, 4) for key, number in value.items()}
    return value


def main() -> None:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--base", default="rmn-tiny-llama")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home), base_model=asked.base, training_threads=asked.threads, device="cpu"
        )
        upgrade(settings.resolved_database_url)
        database = Database(settings.resolved_database_url)
        with database.transaction() as s:
            tenant = tenants.create_tenant(s, name="Benchmark", now=now())
        report = {
            "base": describe_base(asked.base, PROJECT_ROOT / "models").name,
            "preset": asked.preset,
            "threads": asked.threads,
            "simulated": True,
            "sets": {
                name: train_on(name, asked.preset, settings, database, tenant.id) for name in asked.sets
            },
        }
        database.close()
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
