"""Federations, and answers from a composition."""

from collections.abc import Iterator

from app.bootstrap import Console
from core.compose import service as compose
from core.compose.records import CompositionSpec, Federation
from core.errors import NotFoundError
from core.serve.records import AnswerPiece, InferenceAnswer, InferenceRequest, ServedModel
from core.tenants import audit
from core.tenants.records import Permission, Principal


def list_federations(c: Console, p: Principal) -> list[Federation]:
    """The newest version of each."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return compose.list_federations(s, p.tenant_id)


def get_federation(c: Console, p: Principal, federation_id: str) -> Federation:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return compose.get_federation(s, p.tenant_id, federation_id)


def find_federation(c: Console, p: Principal, name: str) -> Federation:
    """By id, by name (newest version), or by «name@2». Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        found = compose.find_federation(s, p.tenant_id, name)
    if found is None:
        raise NotFoundError(
            f"There is no federation «{name[:200]}».",
            "Nothing here has this id or name.",
            "List the federations.",
        )
    return found


def save_federation(
    c: Console, p: Principal, name: str, description: str, spec: CompositionSpec
) -> Federation:
    """Save the next version of a name. Raises NotFoundError or ConflictError for adapters that cannot serve."""
    p.require(Permission.TRAIN)
    now = c.clock()
    base_digest = c.base().digest
    with c.database.transaction() as s:
        compose.resolve(s, p.tenant_id, spec, base_digest=base_digest)
        federation = compose.save_federation(
            s,
            p.tenant_id,
            name=name,
            description=description,
            spec=spec,
            created_by=p.actor,
            now=now,
        )
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="federation.saved",
            subject=federation.id,
            detail={"name": federation.name, "version": federation.version},
            now=now,
        )
    return federation


def answer(
    c: Console, p: Principal, request: InferenceRequest, *, request_id: str | None = None
) -> InferenceAnswer:
    """Answer one request. Blocks until done. `request_id`: the one that the client was told already."""
    p.require(Permission.INFER)
    return c.runtime.answer(p, request, request_id=request_id)


def stream(
    c: Console, p: Principal, request: InferenceRequest, *, request_id: str | None = None
) -> Iterator[AnswerPiece]:
    """Answer piece by piece; closing the iterator cancels."""
    p.require(Permission.INFER)
    return c.runtime.stream(p, request, request_id=request_id)


def list_models(c: Console, p: Principal) -> list[ServedModel]:
    """Everything that a request may name as its model."""
    p.require(Permission.INFER)
    return c.runtime.models(p)
