"""Figures of this process, for Prometheus."""

from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from app.actions import limits
from app.api.parts import KEY_NEEDED, TheConsole, errors
from core.tenants.records import Principal

router = APIRouter(tags=["health"], dependencies=KEY_NEEDED)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        **errors(),
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
)
def read(request: Request, console: TheConsole) -> Response:
    """Answers, tokens, latencies, engine, caches, routes, memory of this process.

    Needs the token in RMN_METRICS_TOKEN, or an administrator's key of the workspace that runs the installation.
    """
    principal: Principal | None = request.state.principal  # None: the gate has found the token
    if principal is not None:
        limits.require_operator(console, principal)
    return Response(console.metrics.text(), media_type=CONTENT_TYPE_LATEST)
