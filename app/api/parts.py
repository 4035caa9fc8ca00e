"""What every route is given: the console, who asks; and how answers that can fail are described."""

from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.api.schemas import ErrorBody
from app.api.waiting import AnswerThreads, OwnThreads
from app.bootstrap import Console
from core.errors import NotAuthenticatedError
from core.tenants.records import Principal

# The gate enforces the key; this only tells readers of the OpenAPI document how to send it.
BEARER = HTTPBearer(auto_error=False, description="An API key, made under Administration.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own.")
KEY_NEEDED = [Security(BEARER), Security(API_KEY)]

RETRY_AFTER = {
    "description": "Seconds after which it is worth trying again.",
    "schema": {"type": "integer", "minimum": 1},
}
_MEANINGS = {
    401: "No API key, or one that is not valid.",
    403: "The key's role does not allow this.",
    404: "No such thing in your workspace.",
    408: "The body did not arrive in time.",
    409: "It exists already, or is in the wrong state.",
    413: "The body is too large.",
    422: "The request or the file in it is not valid.",
    429: "Too much at once: wait as long as Retry-After says.",
    503: "A part that is needed is not ready.",
}


def _console(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


def _principal(request: Request) -> Principal:
    principal: Principal | None = request.state.principal
    if principal is None:
        raise NotAuthenticatedError("This needs an API key.")
    return principal


TheConsole = Annotated[Console, Depends(_console)]
Caller = Annotated[Principal, Depends(_principal)]
SessionId = Annotated[
    str | None,
    Header(
        max_length=200, description="Keeps to one variant of an experiment where the request names no user."
    ),
]


def threads_of(request: Request, console: Console, caller: Principal) -> OwnThreads:
    """Where a call that waits for the model runs. The gate has just read the caller's limits."""
    threads: AnswerThreads = request.app.state.answer_threads
    known = console.admission.standings.known(caller.tenant_id)
    return threads.of(caller.tenant_id, 0 if known is None else known.limits.priority)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for the OpenAPI document: the given ones and those that every route has."""
    every = {401, 403, 408, 413, 422, 429, 503, *statuses}
    return {status: _failure(status) for status in sorted(every)}


def _failure(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {"model": ErrorBody, "description": _MEANINGS[status]}
    if status in (429, 503):
        told["headers"] = {"Retry-After": RETRY_AFTER}
    return told
