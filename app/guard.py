"""In front of the whole console: own host, same origin, a session for everything but health and sign-in, headers."""

from functools import partial
from urllib.parse import urlsplit

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import POLICIES, match_route
from app.api.errors import plain_body
from app.bootstrap import Console
from app.credentials import SESSION_COOKIE, principal_of_request
from app.headers import API_POLICY, add_security_headers
from app.origin import is_own_host, is_same_origin
from core.errors import InvalidInputError, NotAuthenticatedError, PermissionDeniedError, RmnError
from core.settings import Settings
from core.storage.ids import new_id
from core.tenants.records import Permission, Principal

LOG = structlog.get_logger(__name__)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEALTH = "/_stcore/health"
API = "/api"
_THREADS = 8


class Guard:
    """ASGI middleware. The API under /api has a gate of its own and is passed on with the headers only."""

    def __init__(self, app: ASGIApp, console: Console, page_policy: str) -> None:
        self.app = app
        self.console = console
        self.page_policy = page_policy
        self._threads: CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, redirect to sign-in, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        send = partial(self._send_with_headers, send, scope)
        refusal = await self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            # A close before the handshake is answered as status 403.
            await send({"type": "websocket.close", "code": 1008})

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that may not pass; None when it may."""
        headers = Headers(scope=scope)
        settings = self.console.settings
        if not is_own_host(headers.get("host"), settings.host, _allowed_hosts(settings)):
            return _refuse(PermissionDeniedError("This console does not answer to that host name."), 403)
        path = scope["path"]
        if "\0" in path:
            what = "The address is not valid."
            return _refuse(InvalidInputError(what, "It holds a NUL sign (%00).", "Correct it."), 400)
        if path == API or path.startswith(f"{API}/"):
            return None
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and not is_same_origin(headers, settings.public_url):
            LOG.warning("guard.foreign_origin", path=path[:200])
            return _refuse(PermissionDeniedError("This request was sent from another site."), 403)
        if path == HEALTH or self._is_public(scope):
            return None
        page = (
            scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        )
        if await self._principal(headers) is not None:
            return _to_screen(path) if page else None
        if page:
            return RedirectResponse("/sign-in", 303, {"cache-control": "no-store"})
        return _refuse(NotAuthenticatedError("Please sign in.", "", "Open /sign-in."), 401)

    def _is_public(self, scope: Scope) -> bool:
        _, methods = match_route(scope["path"])
        wanted = scope.get("method")
        return (
            scope["path"].startswith("/sign-in")
            and wanted is not None
            and methods.get(wanted) is Permission.PUBLIC
        )

    async def _principal(self, headers: Headers) -> Principal | None:
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        cookies = cookie_parser(headers.get("cookie", ""))
        if SESSION_COOKIE not in cookies:
            return None
        return await to_thread.run_sync(principal_of_request, cookies, self.console, limiter=self._threads)

    async def _send_with_headers(self, send: Send, scope: Scope, message: Message) -> None:
        if message["type"] == "http.response.start":
            add_security_headers(message, scope, self._policy(scope))
        await send(message)

    def _policy(self, scope: Scope) -> str:
        if scope["path"].startswith(f"{API}/"):
            return API_POLICY
        return self.page_policy


def _to_screen(path: str) -> Response | None:
    """To the screen that an address begins with: below a screen there is nothing, and the page would stay blank."""
    screen, _, below = path.strip("/").partition("/")
    if below and f"pages/{screen}.py" in POLICIES:
        return RedirectResponse(f"/{screen}", 303, {"cache-control": "no-store"})
    return None


def _allowed_hosts(settings: Settings) -> list[str]:
    """Names that a proxy in front may use: that of the public URL, and Streamlit's own option, server.allowedHosts."""
    from streamlit import config

    public = urlsplit(settings.public_url).hostname
    return [*([public] if public else []), *map(str.lower, config.get_option("server.allowedHosts") or [])]


def _refuse(error: RmnError, status: int) -> Response:
    return JSONResponse(plain_body(error, new_id("req")), status, {"cache-control": "no-store"})
