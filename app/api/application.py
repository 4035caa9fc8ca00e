"""The API as one ASGI application: mounted under /api by the console, or served alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from app.api import (
    ab_testing,
    adapters,
    alerts,
    analytics,
    composing,
    compositions,
    datasets,
    feedback,
    harmonize,
    health,
    inference,
    limits,
    mappings,
    metrics,
    openai_compatible,
    tenants,
    training,
)
from app.api.errors import describe_validation, error_response
from app.api.gate import BodyRefused, Gate, path_in_app
from app.api.waiting import AnswerThreads
from app.bootstrap import Console
from app.experiment_keeper import keep_experiments
from app.warming import prewarm
from core.errors import InvalidInputError, NotFoundError, RmnError

LOG = structlog.get_logger(__name__)

DESCRIPTION = """Ask LoRA adapters and compositions of them, train and move them.

Send an API key as `Authorization: Bearer …`. It belongs to one workspace, and everything you see and change is of
that workspace. Every error says what happened, why, and what to do next."""


def build_api(console: Console, *, owns_console: bool = False) -> FastAPI:
    """Wire the routes. `owns_console`: load the engine at start and close everything at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if owns_console:
            console.begin_serving()
            prewarm(console)
        with keep_experiments(console) if owns_console else nullcontext():
            yield
        if owns_console:
            console.close()

    api = FastAPI(
        title="RMN LoRA",
        version=health.product_version(),
        description=DESCRIPTION,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[Middleware(Gate, console=console)],
        exception_handlers={
            RmnError: _known_error,
            RequestValidationError: _invalid_request,
            HTTPException: _http_error,
        },
    )
    api.state.console = console
    api.state.answer_threads = AnswerThreads(console.settings.max_queue_rows)
    for part in (
        health, inference, adapters, training, datasets, mappings, harmonize, compositions, composing, ab_testing,
        feedback, analytics, tenants, limits, metrics, openai_compatible, alerts,
    ):  # fmt: skip
        api.include_router(part.router)
    return api


def _respond(request: Request, error: RmnError) -> JSONResponse:
    return error_response(error, request_id=request.state.request_id, path=path_in_app(request.scope))


async def _known_error(request: Request, error: Any) -> JSONResponse:
    return _respond(request, error)


async def _invalid_request(request: Request, error: Any) -> JSONResponse:
    return _respond(request, describe_validation(list(error.errors())))


async def _http_error(request: Request, error: Any) -> JSONResponse:
    if isinstance(error, BodyRefused):
        return _respond(request, error.error)
    if error.status_code == 404:
        return _respond(
            request, NotFoundError("There is nothing here.", "", "GET /openapi.json lists every route.")
        )
    told = str(error.detail)[:200]
    return _respond(
        request, InvalidInputError("The request cannot be read.", f"{told}.", "Correct it and send it again.")
    )
