"""From the settings to the engine on another server."""

from pathlib import Path

from core.engine.backends.openai import Export, OpenAIEngine
from core.engine.backends.outline import BaseOutline
from core.engine.backends.server import ModelServer
from core.errors import InvalidInputError
from core.settings import Settings


def connect(settings: Settings, source: str | Path, export: Export | None) -> OpenAIEngine:
    """The engine that the settings name, for the base at `source`. Raises RefusedFileError, UnavailableError."""
    if export is None:
        raise InvalidInputError(
            "Compositions cannot be exported here.",
            "A model server applies one adapter to a request.",
            "Set engine_backend to local.",
        )
    server = ModelServer(settings.engine_url, api_key=settings.engine_api_key.get_secret_value())
    return OpenAIEngine(
        BaseOutline(source),
        server,
        model=settings.engine_model,
        export=export,
        exports=settings.exports_dir,
        adapter_slots=settings.adapter_slots,
        max_queue_rows=settings.max_queue_rows,
        close_timeout_s=settings.finish_seconds,
    )
