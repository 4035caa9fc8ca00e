"""Signing in and out: pages and forms, outside of the screens because they must work without a session."""

from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.actions import people
from app.bootstrap import Console
from app.credentials import SESSION_COOKIE
from app.origin import is_same_origin
from app.sign_in_page import PAGE_POLICY, link_page, password_page, spent_page
from core.errors import BusyError, NotAuthenticatedError, RmnError
from core.tenants.records import NewSession

LOG = structlog.get_logger(__name__)
FORM_LIMIT_BYTES = 16_384


def sign_in_routes(console: Console) -> list[BaseRoute]:
    """The routes of the sign-in pages."""
    return [
        Route("/sign-in", _password_form, methods=["GET"]),
        Route("/sign-in", partial(_sign_in, console), methods=["POST"]),
        Route("/sign-in/link", _link_form, methods=["GET"]),
        Route("/sign-in/link", partial(_redeem, console), methods=["POST"]),
        Route("/sign-out", partial(_sign_out, console), methods=["POST"]),
    ]


async def _password_form(_request: Request) -> Response:
    return _page(password_page())


async def _link_form(request: Request) -> Response:
    token = request.query_params.get("token", "")[:200]
    if not token:
        return RedirectResponse("/sign-in", 303)
    return _page(link_page(token))


async def _sign_in(console: Console, request: Request) -> Response:
    if not is_same_origin(request.headers, console.settings.public_url):
        return _foreign()
    form = await _form(request)
    email = form.get("email", "")
    try:
        new = await to_thread.run_sync(
            partial(
                people.sign_in,
                console,
                email,
                form.get("password", ""),
                host=request.client.host if request.client else "",
                tenant_slug=form.get("workspace", "").strip() or None,
            )
        )
    except BusyError as error:
        LOG.warning("sign_in.limited")
        again = {"retry-after": str(round(error.retry_after_s))}
        return _page(password_page(f"{error.what} {error.next_step}", email), 429, again)
    except NotAuthenticatedError as error:
        return _page(password_page(f"{error.what} {error.why} {error.next_step}", email), 401)
    return _signed_in(request, new, console)


async def _redeem(console: Console, request: Request) -> Response:
    if not is_same_origin(request.headers, console.settings.public_url):
        return _foreign()
    token = (await _form(request)).get("token", "")
    try:
        new = await to_thread.run_sync(people.redeem_link, console, token)
    except RmnError as error:
        return _page(spent_page(error.what, error.why, error.next_step), 401)
    return _signed_in(request, new, console)


async def _sign_out(console: Console, request: Request) -> Response:
    if not is_same_origin(request.headers, console.settings.public_url):
        return _foreign()
    token = request.cookies.get(SESSION_COOKIE)
    if token:
        await to_thread.run_sync(people.sign_out, console, token)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def _signed_in(request: Request, new: NewSession, console: Console) -> Response:
    response = RedirectResponse("/", 303)
    # Lax, not Strict: the console is often opened from a link in a mail or a terminal.
    response.set_cookie(
        SESSION_COOKIE,
        new.token,
        max_age=int((new.expires_at - console.clock()).total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure="https" in (request.url.scheme, urlsplit(console.settings.public_url).scheme),
    )
    return response


async def _form(request: Request) -> dict[str, str]:
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length[:10]) > FORM_LIMIT_BYTES:
        return {}
    form: Any = await request.form(max_files=0, max_fields=8)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _page(content: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    policy = {
        "content-security-policy": PAGE_POLICY,
        "cache-control": "no-store",
        # The forms are checked by their Origin, which «no-referrer» would blank.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(content, status, {**policy, **(headers or {})})


def _foreign() -> Response:
    return PlainTextResponse("This form was sent from another site.", 403)
