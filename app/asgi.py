"""The console as one ASGI application: screens, sign-in pages, the API under /api, and one guard before all."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit
import structlog
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route

from app.api.application import build_api
from app.bootstrap import Console, shared_console
from app.experiment_keeper import keep_experiments
from app.guard import Guard
from app.logs import adopt_library_loggers
from app.sign_in import sign_in_routes
from app.warming import prewarm
from core.settings import PROJECT_ROOT, Settings

LOG = structlog.get_logger(__name__)
ENTRY = Path(__file__).parent / "main.py"
ENTRY_SCREEN = "overview"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def build_app(console: Console) -> streamlit.App:
    """Wire the console. The screens of this process use `console` from now on."""
    shared_console.set(console)
    _find_configuration(console.settings)

    @asynccontextmanager
    async def lifespan(_app: streamlit.App) -> AsyncIterator[None]:
        adopt_library_loggers()
        console.begin_serving()
        prewarm(console)
        LOG.info("console.started")
        with keep_experiments(console):
            yield
        console.close()
        LOG.info("console.stopped")

    routes: list[BaseRoute] = [
        *sign_in_routes(console),
        Mount("/api", app=build_api(console)),
        Route(f"/{ENTRY_SCREEN}", _to_the_entry, methods=["GET"]),
    ]
    return streamlit.App(
        ENTRY,
        lifespan=lifespan,
        routes=routes,
        middleware=[Middleware(Guard, console=console, page_policy=screen_policy())],
        on_script_error=_tell_script_error,
    )


async def _to_the_entry(request: Request) -> RedirectResponse:
    """Streamlit serves the first screen at / alone, and shows «page not found» under its own name."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/{query}", 307)


def screen_policy() -> str:
    """The content security policy of the screens; the one inline script of Streamlit's page is named by its hash."""
    page = Path(streamlit.__file__).parent / "static" / "index.html"
    scripts = [base64.b64encode(hashlib.sha256(s).digest()).decode() for s in _inline_scripts(page)]
    hashes = " ".join(f"'sha256-{digest}'" for digest in scripts)
    return (
        f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
        "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


def _inline_scripts(page: Path) -> list[bytes]:
    return _INLINE_SCRIPT.findall(page.read_bytes())


def _find_configuration(settings: Settings) -> None:
    """Theme and server options lie in the project's folder, whatever folder this process was started in.

    Streamlit checks where its websocket is opened from by itself, so it is told the public URL, too.
    """
    from streamlit import config

    if config._main_script_path is None:
        config._main_script_path = str(PROJECT_ROOT / ENTRY.name)
    known = config.get_option("server.corsAllowedOrigins") or []
    if settings.public_url and settings.public_url not in known:
        config._set_option("server.corsAllowedOrigins", [*known, settings.public_url], "RMN_PUBLIC_URL")


def _tell_script_error(error: Exception) -> bool:
    """Into the log with its traceback, onto the screen without."""
    from app.ui.frame import show_script_error

    LOG.error("screen.failed", exc_info=error)
    return show_script_error(error)
