"""The card beside a shipped file: `<name>.card.json` says what `<name>.<ending>` holds."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.datasets.records import DatasetKind
from core.errors import InvalidInputError, NotFoundError

CARD_SUFFIX = ".card.json"
CARD_LIMIT_BYTES = 1 << 20


class DatasetCard(BaseModel):
    """What every card says. Further entries (splits, slices, columns, notice …) are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1, max_length=200)
    title: str = Field(min_length=1, max_length=200)
    kind: DatasetKind
    adapter_type: str | None = None
    description: str = ""
    simulated: bool
    rows: int = Field(ge=0)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


def find_cards(folder: Path) -> list[Path]:
    """All cards below a folder, sorted by path."""
    return sorted(folder.rglob(f"*{CARD_SUFFIX}"))


def parse_card(card: dict[str, Any], name: str) -> DatasetCard:
    """A card's entries, checked. Raises InvalidInputError that names the card and each wrong entry."""
    try:
        return DatasetCard.model_validate(card)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise InvalidInputError(
            f"The card {name} is not valid.", f"{wrong}.", "Restore it, or generate the demo data again."
        ) from None


def read_card(path: Path) -> dict[str, Any]:
    """The entries of a card file. Raises InvalidInputError that names the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(CARD_LIMIT_BYTES + 1)
        entries = json.loads(raw) if len(raw) <= CARD_LIMIT_BYTES else None
    except (OSError, ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise InvalidInputError(
            f"The card {path.name} cannot be read.",
            "It is no JSON object, or it is larger than 1 MB.",
            "Restore it, or generate the demo data again.",
        )
    return entries


def file_of_card(card_path: Path) -> Path:
    """The one file that a card describes. Raises NotFoundError (missing) or InvalidInputError (unclear)."""
    stem = card_path.name.removesuffix(CARD_SUFFIX)
    files = [
        path
        for path in sorted(card_path.parent.glob("*"))
        if path.name.startswith(f"{stem}.") and not path.name.endswith(CARD_SUFFIX) and path.is_file()
    ]
    if not files:
        raise NotFoundError(
            f"The data file of the card {card_path} is missing.",
            f"A file {stem}.<ending> should lie beside it.",
            "Restore it, or generate the demo data again.",
        )
    if len(files) > 1:
        raise InvalidInputError(
            f"The card {card_path} fits several files.",
            f"Found: {', '.join(path.name for path in files)}.",
            "Leave only one of them.",
        )
    return files[0]
