"""The memory estimate of a training run against the peak that its process really reached, on the shipped base.

Each run is a process of its own (the peak of a process never goes down): a few steps on rows of one length, without
evaluation. JSON: for each run the estimate with its parts, the measured peak (ru_maxrss when training ends, which is
where the estimate is aimed), and estimate ÷ peak. Within 0.85 to 1.15 is what the estimate promises.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.worker import child_environment
from core.datasets import service as datasets
from core.jobs import service as jobs
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.training import service as training
from core.training.presets import plan_spec

# Words of the answer, words of the prompt, rows in a batch.
RUNS = {"short": (10, 10, 8), "medium": (60, 60, 8), "long": (90, 100, 8), "long, large batch": (90, 100, 16)}
STEPS = 4
WORD = "clicks "


def now() -> datetime:
    return datetime.now(UTC)


def write_rows(path: Path, answer: int, prompt: int, rows: int) -> Path:
    """Rows of about one length, all different."""
    with path.open("w") as file:
        for number in range(rows):
            split = "train" if number < rows - 4 else "validation"
            row = {
                "prompt": f"row {number} " + WORD * prompt,
                "completion": f"row {number} " + WORD * answer,
                "split": split,
            }
            file.write(json.dumps(row) + "\n")
    return path


def measure(name: str, home: Path, threads: int) -> dict[str, Any]:
    """One run in this process: prints nothing, returns the figures."""
    from core.training.progress import Stop
    from core.training.runner import run_training

    answer, prompt, batch = RUNS[name]
    settings = Settings(home=home, training_threads=threads, device="cpu")
    upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    path = write_rows(home / "rows.jsonl", answer, prompt, batch * STEPS + 4)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Benchmark", now=now())
        dataset = datasets.register_file(s, tenant.id, path=path, card=None, name="rows", now=now())
        spec = plan_spec("balanced", "task", dataset, "rows", epochs=1.0, batch_size=batch, evaluate=False)
        known = training.look_up(s, tenant.id, spec)
    work = training.prepare(spec, known, settings=settings)
    estimate = training.estimate_work(work, settings)
    with database.transaction() as s:
        job, _ = training.submit(s, tenant.id, work, submitted_by="benchmark", now=now())
        claimed = jobs.claim(s, job.id, now=now())
    assert claimed is not None
    run_training(claimed, database=database, settings=settings, stop=Stop(), clock=now)
    with database.reading() as s:
        result = jobs.get(s, tenant.id, job.id).result or {}
    database.close()
    peak = result["training"]["peak_memory_bytes"]
    return {
        "longest_row_tokens": max(whole for whole, _ in work.lengths.train),
        "batch_size": batch,
        "estimate_mb": round(estimate.memory_bytes / 1e6),
        "parts_mb": {part: round(size / 1e6) for part, size in estimate.memory_parts.items()},
        "peak_mb": round(peak / 1e6),
        "estimate_over_peak": round(estimate.memory_bytes / peak, 3),
    }


def main() -> None:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.home, asked.threads)))
        return
    found = {}
    for name in asked.runs:
        with tempfile.TemporaryDirectory() as home:
            environment = child_environment(Settings(home=Path(home), training_threads=asked.threads))
            given = ["--measure", name, "--home", home, "--threads", str(asked.threads)]
            done = subprocess.run(
                [sys.executable, __file__, *given],
                env=environment,
                cwd=PROJECT_ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, found[name], file=sys.stderr)
    print(json.dumps({"threads": asked.threads, "runs": found}, indent=1))


if __name__ == "__main__":
    main()
