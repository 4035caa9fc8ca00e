"""Alive, and ready: for load balancers and people."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response

from app.api.parts import TheConsole
from app.api.schemas import HealthOut, PartOut, ReadyOut
from app.bootstrap import Console
from core.errors import RmnError, UnavailableError
from core.storage.migrate import is_current

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the process alive?")
async def health() -> HealthOut:
    """Answers as long as the process does. Needs no key."""
    return HealthOut(version=product_version())


@router.get(
    "/ready",
    summary="Can requests be served?",
    responses={503: {"model": ReadyOut, "description": "Not yet, or not any more; the parts say why."}},
)
def ready(console: TheConsole, response: Response) -> ReadyOut:
    """Database reachable with this version's schema, engine loaded, not about to stop. Needs no key."""
    parts = [
        _part("database", lambda: _check_database(console)),
        _part("engine", lambda: _check_engine(console)),
    ]
    if console.stopping.is_set():
        parts.append(PartOut(name="process", ready=False, reason="It was told to stop."))
    everything = all(part.ready for part in parts)
    response.status_code = 200 if everything else 503
    return ReadyOut(ready=everything, parts=parts)


def product_version() -> str:
    """As the package says, or «source» where the product runs from its checkout."""
    try:
        return version("rmn-lora")
    except PackageNotFoundError:
        return "source"


def _part(name: str, check: Callable[[], None]) -> PartOut:
    try:
        check()
    except RmnError as error:
        return PartOut(name=name, ready=False, reason=error.what)
    except Exception:  # noqa: BLE001 - a driver may raise anything; the reason may name hosts and paths, so it is not told
        return PartOut(name=name, ready=False, reason="It cannot be reached.")
    return PartOut(name=name, ready=True)


def _check_database(console: Console) -> None:
    if not is_current(console.settings.resolved_database_url):
        raise UnavailableError("Its schema is not that of this version.")


def _check_engine(console: Console) -> None:
    if not console.engine.loaded:
        raise UnavailableError("The base model is not loaded yet.")
    if not console.engine().status().ready:
        raise UnavailableError("The engine has stopped.")
