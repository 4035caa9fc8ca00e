"""One call from settings to an engine. Importing this is cheap; torch comes in when the engine is opened."""

from collections.abc import Callable
from pathlib import Path

from core.engine.records import Composition, EnginePort
from core.settings import Settings

MB = 1_000_000


def open_engine(
    settings: Settings,
    source: str | Path,
    export: Callable[[Composition, Path], Path] | None = None,
    *,
    kernel: bool = True,
) -> EnginePort:
    """Load the base at `source` (a folder or a Hugging Face id) and serve it as the settings say.

    `export` writes a composition as one adapter into a new folder, for a model server that takes no mixtures.
    `kernel`: adapters by the Triton kernel where a GPU has it; False: by torch. Raises InvalidInputError,
    RefusedFileError, InsufficientMemoryError or UnavailableError.
    """
    if settings.engine_backend == "openai-compatible":
        from core.engine.backends.connect import connect

        return connect(settings, source, export)
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
        adapter_bytes=settings.adapter_memory_mb * MB or None,
        kv_bytes=settings.kv_memory_mb * MB or None,
        prefix_bytes=(settings.prefix_memory_mb * MB or None) if settings.prefix_cache else 0,
        close_timeout_s=settings.finish_seconds,
        kernel=kernel,
    )
