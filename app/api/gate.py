"""In front of every route: request id, policy, credential, rate, size of the body. What has no policy is denied."""

import re
import time
from collections.abc import Mapping

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import METRICS, REGISTRATION, match_route
from app.actions import people
from app.api.errors import (
    REQUEST_ID_HEADER,
    TooLargeError,
    TooSlowError,
    WrongMethodError,
    error_response,
    unexpected_error,
)
from app.bootstrap import Console
from app.credentials import api_secret
from app.headers import API_POLICY, add_security_headers
from app.logs import bound
from app.metrics import Metrics
from core.errors import NotAuthenticatedError, NotFoundError, RmnError
from core.storage.ids import new_id
from core.tenants.credentials import fingerprint
from core.tenants.credentials import same as same_print
from core.tenants.records import Permission, Principal

LOG = structlog.get_logger(__name__)
JSON_LIMIT_BYTES = 2 << 20
# A multipart upload is a little longer than the file in it.
MULTIPART_SPARE_BYTES = 64 << 10
BODY_PIECE_TIMEOUT_S = 30.0
CLIENT_ID_LETTERS = 64
UPLOAD_ROUTES = frozenset({("POST", "/adapters"), ("POST", "/datasets"), ("POST", "/datasets/raw")})
_CREDENTIAL_THREADS = 8


class Gate:
    """ASGI middleware. Puts `principal` and `request_id` into the request's state."""

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self.app = app
        self.console = console
        self._threads: CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        client_id = _printable(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))[:CLIENT_ID_LETTERS]
        names = {"client_request_id": client_id} if client_id else {}
        with bound(request_id=exchange.request_id, **names):
            try:
                await self._pass_on(scope, receive, exchange)
            except RmnError as error:
                await exchange.answer(error, receive)
            except Exception:
                LOG.exception("api.failed", method=scope["method"], path=exchange.path)
                await exchange.answer(unexpected_error(exchange.request_id), receive)
            finally:
                exchange.log(self.console.metrics)

    async def _pass_on(self, scope: Scope, receive: Receive, exchange: "_Exchange") -> None:
        principal, permission = await self._principal(scope), None
        template, allowed = match_route(exchange.path)
        if template is not None:
            permission = allowed.get(scope["method"])
            if self._is_open((scope["method"], template), scope):
                permission = Permission.PUBLIC
        exchange.template = template
        if permission is not Permission.PUBLIC:
            if principal is None:
                raise NotAuthenticatedError(
                    "This needs an API key.",
                    "The request has none, or one that is not valid any more.",
                    "Send it as «Authorization: Bearer …».",
                )
            if template is None:
                raise NotFoundError("There is nothing here.", "", "GET /openapi.json lists every route.")
        if template is not None and permission is None:
            raise WrongMethodError(sorted(allowed))
        if principal is not None:
            exchange.tenant_id = principal.tenant_id
            self._count(principal)
            if permission is not None:
                principal.require(permission)
        scope.setdefault("state", {})
        scope["state"]["principal"] = principal
        scope["state"]["request_id"] = exchange.request_id
        body = _LimitedBody(receive, self._limit_bytes(scope["method"], template), Headers(scope=scope))
        with bound(tenant_id=exchange.tenant_id):
            await self.app(scope, body.receive, exchange.send)

    async def _principal(self, scope: Scope) -> Principal | None:
        secret = api_secret(Headers(scope=scope))
        if secret is None:
            return None
        if self._threads is None:
            # Its own threads: those that wait for answers of the model must not keep others from signing in.
            self._threads = CapacityLimiter(_CREDENTIAL_THREADS)
        return await to_thread.run_sync(self._who, secret, limiter=self._threads)

    def _who(self, secret: str) -> Principal | None:
        """Reads the database, the caller's limits too, so that they are at hand when they are needed."""
        principal = people.principal_of_key(self.console, secret)
        if principal is not None:
            self.console.admission.standings(principal.tenant_id)
        return principal

    def _count(self, principal: Principal) -> None:
        known = self.console.admission.standings.known(principal.tenant_id)
        amount = None if known is None else known.limits.requests_per_minute
        self.console.rates.count_request(principal.tenant_id, amount)

    def _is_open(self, route: tuple[str, str], scope: Scope) -> bool:
        """Whether this request needs no key although its route does."""
        settings = self.console.settings
        if route == REGISTRATION:
            return settings.open_registration
        token = settings.metrics_token.get_secret_value()
        given = api_secret(Headers(scope=scope)) or ""
        return route == METRICS and bool(token) and same_print(fingerprint(given), fingerprint(token))

    def _limit_bytes(self, method: str, template: str | None) -> int:
        if (method, template) in UPLOAD_ROUTES:
            return (self.console.settings.upload_limit_mb << 20) + MULTIPART_SPARE_BYTES
        return JSON_LIMIT_BYTES


class _Exchange:
    """One request and its answer: our id, what was sent, how long it took."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.request_id = new_id("req")
        self.path = path_in_app(scope)
        self.tenant_id: str | None = None
        self.template: str | None = None
        self._scope = scope
        self._send = send
        self._status: int | None = None
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Pass on, with our request id in the head."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.request_id
            headers.setdefault("cache-control", "no-store")
            add_security_headers(message, self._scope, API_POLICY)
        await self._send(message)

    async def answer(self, error: RmnError, receive: Receive) -> None:
        """Say what went wrong, unless an answer has begun already."""
        if self._status is None:
            response = error_response(error, request_id=self.request_id, path=self.path)
            await response(self._scope, receive, self.send)

    def log(self, metrics: Metrics) -> None:
        """One line per request, without query string or body; and its figures, by route."""
        metrics.note_http(self._scope["method"], self.template, self._status, self._began)
        LOG.info(
            "api.request",
            method=self._scope["method"],
            path=self.path[:200],
            status=self._status,
            tenant_id=self.tenant_id,
            ms=round((time.perf_counter() - self._began) * 1000, 1),
        )


class _LimitedBody:
    """Counts the bytes of a body and the time between its pieces."""

    def __init__(self, receive: Receive, limit: int, headers: Mapping[str, str]) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0
        self._whole = False
        told = headers.get("content-length", "")
        if told.isdecimal() and int(told[:20]) > limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece. Raises BodyRefused, which survives the web framework's own handling."""
        if self._whole:
            return await self._receive()
        try:
            with anyio.fail_after(BODY_PIECE_TIMEOUT_S):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefused(
                TooSlowError("The body did not arrive in time.", "", "Send it again without pauses.")
            ) from None
        self._seen += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._seen > self._limit:
            raise BodyRefused(self._too_large())
        return message

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            "The request is too large.",
            f"This route takes at most {self._limit / 2**20:,.1f} MB.",
            "Send less, or raise RMN_UPLOAD_LIMIT_MB for uploads.",
        )


class BodyRefused(HTTPException):
    """Carries an error out of the web framework, which swallows every other exception while it reads a body."""

    def __init__(self, error: RmnError) -> None:
        super().__init__(413)
        self.error = error


def path_in_app(scope: Scope) -> str:
    """The path below the place where this app is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "", text)
