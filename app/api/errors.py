"""Which error answers with which status, and in which shape."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from core.errors import (
    BusyError,
    ConflictError,
    InsufficientMemoryError,
    IntegrityError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RefusedFileError,
    RmnError,
    UnavailableError,
)

REQUEST_ID_HEADER = "x-request-id"
OPENAI_PREFIX = "/v1/"
UNAVAILABLE_FOR_S = 5


class TooLargeError(InvalidInputError):
    """A body has more bytes than its route takes."""

    code = "too_large"


class TooSlowError(InvalidInputError):
    """A body did not arrive in time."""

    code = "too_slow"


class WrongMethodError(InvalidInputError):
    """The route is there, this method is not. `allowed` are those that are."""

    code = "wrong_method"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(
            "This method is not allowed here.", f"Allowed: {', '.join(allowed)}.", "Use one of those."
        )
        self.allowed = allowed


# The first class that fits decides, so the special ones come first.
STATUS: Mapping[type[RmnError], int] = {
    TooLargeError: 413,
    TooSlowError: 408,
    WrongMethodError: 405,
    QuotaExceededError: 413,
    RefusedFileError: 422,
    InvalidInputError: 422,
    NotAuthenticatedError: 401,
    PermissionDeniedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    BusyError: 429,
    InsufficientMemoryError: 503,
    UnavailableError: 503,
    IntegrityError: 500,
    RmnError: 500,
}
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def status_of(error: RmnError) -> int:
    """The HTTP status that an error answers with."""
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def error_response(error: RmnError, *, request_id: str, path: str) -> JSONResponse:
    """The answer to a request that failed; under /v1 in the shape that OpenAI's clients read."""
    status = status_of(error)
    headers = {REQUEST_ID_HEADER: request_id}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    elif status == 503:
        headers["retry-after"] = str(UNAVAILABLE_FOR_S)
    if isinstance(error, WrongMethodError):
        headers["allow"] = ", ".join(error.allowed)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooLargeError | TooSlowError):
        headers["connection"] = "close"
    body = openai_body if path.startswith(OPENAI_PREFIX) else plain_body
    return JSONResponse(body(error, request_id), status, headers)


def plain_body(error: RmnError, request_id: str) -> dict[str, Any]:
    """{error: {code, what, why, next_step, request_id}}."""
    return {
        "error": {
            "code": error.code,
            "what": error.what,
            "why": error.why,
            "next_step": error.next_step,
            "request_id": request_id,
        }
    }


def openai_body(error: RmnError, request_id: str) -> dict[str, Any]:
    """{error: {message, type, param, code}}, with our request id beside them."""
    status = status_of(error)
    return {
        "error": {
            "message": str(error),
            "type": _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": None,
            "code": "model_not_found" if status == 404 else error.code,
            "request_id": request_id,
        }
    }


def unexpected_error(request_id: str) -> RmnError:
    """What is said when a request failed for a reason that nobody foresaw. The reason itself is in the log."""
    return RmnError(
        "Something went wrong on our side.",
        "It was logged.",
        f"Try again; if it stays, tell your administrator this id: {request_id}.",
    )


def describe_validation(problems: list[Mapping[str, Any]]) -> InvalidInputError:
    """The first wrong fields of a request body or query, in one sentence each."""
    told = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5]]
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return InvalidInputError(
        "The request is not valid.",
        f"{'; '.join(told)[:1000]}{more}.",
        "Correct it and send it again; GET /openapi.json describes every field.",
    )
