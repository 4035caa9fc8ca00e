"""A demo file and the card beside it."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

DEMO_SEED = 41
NOTICE = "Simulated: every retailer, brand, identifier and number is invented."
LICENSE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class CardColumn:
    """One column as the card explains it."""

    name: str
    meaning: str
    unit: str


def write_with_card(
    path: Path,
    content: bytes,
    *,
    seed: int,
    generator: str,
    kind: str,
    name: str,
    title: str,
    description: str,
    rows: int,
    columns: list[CardColumn],
) -> list[Path]:
    """Write a data file and its card; returns both paths. The digest is the SHA-256 of the file's bytes."""
    card = {
        "name": name,
        "title": title,
        "kind": kind,
        "adapter_type": None,
        "description": description,
        "simulated": True,
        "notice": NOTICE,
        "generator": generator,
        "seed": seed,
        "rows": rows,
        "digest": sha256(content).hexdigest(),
        "license": LICENSE,
        "columns": [asdict(column) for column in columns],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    card_path = path.with_name(f"{path.name.split('.', 1)[0]}.card.json")
    card_path.write_bytes((json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return [path, card_path]
