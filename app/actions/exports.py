"""Federations as files for other servers."""

from pathlib import Path

from app.bootstrap import Console
from app.engine import MODELS_DIR
from core.compose import service as compose
from core.compose.export import Exported, ExportMethod, export_composition
from core.compose.resolve import resolve
from core.compose.resolved import ResolvedPipeline
from core.errors import InvalidInputError, NotFoundError, UnavailableError
from core.registry.bases import base_folder
from core.tenants import audit
from core.tenants.records import Permission, Principal


def export_federation(
    c: Console,
    p: Principal,
    name: str,
    *,
    method: str,
    out: Path,
    rank: int | None = None,
    density: float | None = None,
    seed: int = 0,
    whole_model: bool = False,
) -> Exported:
    """Write a federation (name, «name@2» or id) into the new folder `out`: one adapter, or a whole model.

    Raises NotFoundError, ConflictError, InvalidInputError (what has no single weight for a layer, settings),
    RefusedFileError.
    """
    p.require(Permission.TRAIN)
    base = c.base()
    with c.database.reading() as s:
        federation = compose.find_federation(s, p.tenant_id, name)
        if federation is None:
            raise NotFoundError(
                f"There is no federation «{name[:200]}».",
                "Nothing here has this id or name.",
                "List the federations.",
            )
        resolved = resolve(
            s, p.tenant_id, federation.spec, base_digest=base.digest, modules=tuple(base.linears)
        )
    if isinstance(resolved, ResolvedPipeline):
        raise _several("A sequential composition", "It is several compositions, one for each stage.")
    if resolved.router is not None:
        raise _several("A request router", "It chooses other weights for every request.")
    made = export_composition(
        resolved.composition,
        method=method,
        out=out,
        rank=rank,
        density=density,
        seed=seed,
        base_folder=_folder(c) if whole_model or method == ExportMethod.MERGED else None,
    )
    with c.database.transaction() as s:
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="federation.exported",
            subject=federation.id,
            detail={"name": federation.label, "method": made.method, "digest": made.digest},
            now=c.clock(),
        )
    return made


def _folder(c: Console) -> Path:
    folder = base_folder(c.settings.base_model, MODELS_DIR)
    if not isinstance(folder, Path):
        raise UnavailableError(
            f"The base model {folder} is not on this disk yet.",
            "A whole model is written from its files.",
            "Ask it something once, so that it is fetched, and try again.",
        )
    return folder


def _several(what: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{what} cannot be exported.", why, "Serve it here, or export an additive federation of its adapters."
    )
