"""One call from settings to an engine. Importing this is cheap; torch comes in when the engine is opened."""

from pathlib import Path

from core.engine.records import EnginePort
from core.settings import Settings


def open_engine(settings: Settings, source: str | Path) -> EnginePort:
    """Load the base at `source` (a folder or a Hugging Face id) and serve it as the settings say.

    Raises InvalidInputError, RefusedFileError, InsufficientMemoryError or UnavailableError.
    """
    from core.engine.base import load_base
    from core.engine.local import LocalEngine

    base = load_base(
        source,
        quantization=settings.base_quantization,
        dtype=settings.base_dtype,
        device=settings.device,
        threads=settings.serving_threads,
    )
    return LocalEngine(
        base,
        adapter_slots=settings.adapter_slots,
        max_batch_rows=settings.max_batch_rows,
        max_queue_rows=settings.max_queue_rows,
    )
