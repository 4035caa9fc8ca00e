"""Processes that run until they are stopped: console, api, worker, up."""

import os
from typing import Annotated

import typer

from app.commands.local import prepared
from app.ports import is_free
from core.errors import UnavailableError
from core.settings import Settings, load_settings
from core.storage.migrate import current_revision

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; RMN_HOST if left out.")]
PortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")]


def up() -> None:
    """Set up and start everything: console and worker. Prints one sign-in link; Ctrl-C stops both."""
    from app.up import run

    raise typer.Exit(run(load_settings()))


def console(host: HostOption = None, port: PortOption = None) -> None:
    """Serve the screens, with the REST API under /api."""
    settings = _settings(host=host, port=port)
    _check_port(settings.host, settings.port, "--port or RMN_PORT")
    from app.asgi import build_app
    from app.bootstrap import build_console
    from app.serving import serve

    built = build_console(settings)
    serve(build_app(built), built, host=settings.host, port=settings.port)


def api(host: HostOption = None, port: PortOption = None) -> None:
    """Serve the REST API alone, for scale-out."""
    settings = _settings(host=host, api_port=port)
    _check_port(settings.host, settings.api_port, "--port or RMN_API_PORT")
    from app.api.application import build_api
    from app.bootstrap import build_console
    from app.serving import serve

    built = build_console(settings)
    serve(build_api(built, owns_console=True), built, host=settings.host, port=settings.api_port)


def worker(
    jobs_at_once: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Jobs that run side by side; RMN_JOBS_AT_ONCE if left out."),
    ] = None,
) -> None:
    """Run training jobs, each in a process of its own."""
    settings = _settings(jobs_at_once=jobs_at_once)
    from app.worker import run_worker

    raise typer.Exit(run_worker(settings))


def _check_port(host: str, port: int, option: str) -> None:
    """Before anything is loaded. Raises UnavailableError."""
    if not is_free(host, port):
        raise UnavailableError(
            f"Port {port} on {host} cannot be listened on.",
            "Another program listens there, or this address is not of this machine.",
            f"Choose another one with {option}.",
        )


def _settings(**overrides: object) -> Settings:
    """Settings with what was said on the command line; a database that was never set up is set up."""
    from app.logs import configure_logging

    # Before torch: two processes whose idle threads spin starve each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    configure_logging(settings)
    if current_revision(settings.resolved_database_url) is None:
        prepared(settings)
    return settings
