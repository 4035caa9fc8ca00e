"""Where a request carries its credential, and whom it stands for."""

from collections.abc import Mapping

from app.actions import people
from app.bootstrap import Console, shared_console
from core.tenants.records import Principal

SESSION_COOKIE = "rmn_session"


def principal_of_request(cookies: Mapping[str, str], console: Console | None = None) -> Principal | None:
    """Who has signed in with these cookies; None when nobody has. Looked up anew each time."""
    token = cookies.get(SESSION_COOKIE)
    return people.principal_of_session(console or shared_console(), token) if token else None


def api_secret(headers: Mapping[str, str]) -> str | None:
    """The API key of a request: `Authorization: Bearer …`, or `X-API-Key: …`. Header names are lower case."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key", "").strip() or None
