"""All shipped demo data, written anew: the same seed gives the same bytes."""

from pathlib import Path

from core.demo.cards import DEMO_SEED
from core.demo.events import write_event_files
from core.demo.reference import write_reference_files
from core.demo.sft import write_sft_sets


def write_demo_data(out_dir: Path, seed: int = DEMO_SEED) -> list[Path]:
    """Write events, reference tables, fine-tuning sets and preference pairs below `out_dir`; returns the paths.

    `out_dir` is the project's datasets folder, or another one. Files that are there are overwritten.
    """
    return [
        *write_event_files(out_dir, seed),
        *write_reference_files(out_dir, seed),
        *write_sft_sets(out_dir, seed),
    ]
