"""A workspace that can be used at once: the shipped datasets and adapters, registered where they lie."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from core.datasets import cards
from core.datasets import service as datasets
from core.datasets.records import DatasetKind
from core.errors import RefusedFileError, RmnError
from core.registry import bases
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.package import read_manifest
from core.registry.records import AdapterSource
from core.settings import PROJECT_ROOT

# The library lists the newest first: what one trains from comes last here.
ORDER = (DatasetKind.REFERENCE, DatasetKind.EVENTS, DatasetKind.DPO, DatasetKind.SFT)


@dataclass(frozen=True, slots=True)
class WorkspaceContent:
    """What a workspace was given. Skipped adapters were trained on a base that is not shipped (any more)."""

    datasets: int
    adapters: int
    skipped_adapters: tuple[str, ...]


def prepare_workspace(s: Session, tenant_id: str, *, project_root: Path, now: datetime) -> WorkspaceContent:
    """Register all of `project_root`/datasets (by its cards) and models/adapters for a tenant. Safe to repeat.

    The files are used in place. What the tenant archived stays archived. Raises NotFoundError, IntegrityError,
    InvalidInputError or RefusedFileError that names the missing or damaged file; then nothing is registered.
    """
    registered = _register_datasets(s, tenant_id, project_root / "datasets", now)
    facts = _shipped_bases(project_root / "models")
    adapters, skipped = 0, []
    for folder in sorted((project_root / "models" / "adapters").glob("*")):
        if not folder.is_dir():
            continue
        if _register_adapter(s, tenant_id, folder, facts, now):
            adapters += 1
        else:
            skipped.append(folder.name)
    return WorkspaceContent(registered, adapters, tuple(skipped))


def _register_datasets(s: Session, tenant_id: str, folder: Path, now: datetime) -> int:
    """Register the file of every card. A name that an SFT set has too gets its kind behind it."""
    found = [(path, cards.parse_card(cards.read_card(path), str(path))) for path in cards.find_cards(folder)]
    trained = {card.name for _, card in found if card.kind is DatasetKind.SFT}
    found.sort(key=lambda item: item[1].name, reverse=True)
    found.sort(key=lambda item: ORDER.index(item[1].kind))
    for place, (path, card) in enumerate(found):
        shared = card.kind is not DatasetKind.SFT and card.name in trained
        datasets.register_file(
            s,
            tenant_id,
            path=cards.file_of_card(path),
            card=cards.read_card(path),
            name=f"{card.name}_{card.kind}" if shared else card.name,
            now=now + timedelta(microseconds=place),
        )
    return len(found)


def _shipped_bases(models_dir: Path) -> dict[str, BaseFacts]:
    """Digest of each shipped base to its facts."""
    facts = (bases.read_base_facts(Path(card.source)) for card in bases.list_bases(models_dir))
    return {each.digest: each for each in facts}


def _register_adapter(
    s: Session, tenant_id: str, folder: Path, shipped: dict[str, BaseFacts], now: datetime
) -> bool:
    """Register one shipped adapter, unless the tenant has it. False when its base is not there."""
    try:
        manifest = read_manifest(folder)
        base = shipped.get(manifest.base_digest)
        if base is None:
            return False
        known = registry.find_by_digest(s, tenant_id, manifest.digest)
        if all(adapter.name != manifest.name for adapter in known):
            registry.register_adapter(
                s,
                tenant_id,
                folder=folder,
                manifest=manifest,
                source=AdapterSource.SHIPPED,
                base=base,
                now=now,
            )
            _archive_former(s, tenant_id, folder, manifest.digest)
    except (RmnError, OSError) as error:
        raise RefusedFileError(
            f"The shipped adapter {folder} is damaged.",
            str(error),
            "Restore the folder, or take it away: the workspace works without it.",
        ) from None
    return True


def _archive_former(s: Session, tenant_id: str, folder: Path, digest: str) -> None:
    """What was registered from this folder before has no files any more."""
    for adapter in registry.list_adapters(s, tenant_id):
        if PROJECT_ROOT / adapter.path == folder.resolve() and adapter.digest != digest:
            registry.archive_adapter(s, tenant_id, adapter.id)
