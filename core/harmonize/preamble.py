"""What the lines above a report's header say of its source: time zone, currency, window, names.

Only what is said outright is taken: a wrong time zone moves every row by hours.
"""

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from core.harmonize.records import Mapping, SourceCard

_ABOVE = re.compile(r"^Above the header, line \d+:\s*")
_PAIR = re.compile(r"(?P<label>[^:=,;|\t\"\n]{2,60}?)\"?\s*[:=,;|\t]\s*\"?(?P<value>[^\"|\t\n]{1,200})")
_ZONE = re.compile(r"\b[A-Z][A-Za-z]+(?:/[A-Za-z_]+){1,2}\b")
_UNIVERSAL = re.compile(r"\b(?:UTC|GMT|Z)\b(?!\s*[+\-−]\s*0*[1-9])")
_CODE = re.compile(r"\b[A-Z]{3}\b")
_CLICK_DAYS = re.compile(r"(\d{1,3})[\s-]*(?:d|day|days)\b[\s-]*(?:post[\s-]*)?(?:click)?", re.IGNORECASE)
_VIEW_DAYS = re.compile(r"(\d{1,3})[\s-]*(?:d|day|days)\b[\s-]*(?:post[\s-]*)?view", re.IGNORECASE)
# Names that American consoles write instead of a zone of the IANA list.
_NAMED_ZONES = MappingProxyType(
    {
        "pacific": "America/Los_Angeles",
        "mountain": "America/Denver",
        "central": "America/Chicago",
        "eastern": "America/New_York",
    }
)
_CARD_NAMES = MappingProxyType(
    {
        "retailer": ("retailer", "marketplace"),
        "network": ("network", "platform", "media network"),
        "report": ("report", "report name", "report type", "report title"),
    }
)


def card_of_notes(notes: Iterable[str]) -> dict[str, Any]:
    """Fields of a source card that the lines above the header say, and no others. The first that says it counts.

    Other notes are our own sentences and say nothing of the source.
    """
    found: dict[str, Any] = {}
    for note in notes:
        above = _ABOVE.match(note)
        for pair in _PAIR.finditer(note, above.end()) if above else ():
            label = pair["label"].strip().casefold()
            for name, value in _read(label, pair["value"].strip()).items():
                found.setdefault(name, value)
    return found


def complete_card(
    card: SourceCard | None, notes: Iterable[str], mapping: Mapping | None = None
) -> SourceCard | None:
    """The card, with what it leaves open taken from the notes; None where neither says anything.

    Time zone and currency of this very file count for more than those of a mapping that was made for another
    account; what the mapping says of names and headline stays as it is.
    """
    found = card_of_notes(notes)
    if mapping is not None:
        for name in ("headline", "retailer", "network", "report"):
            if getattr(mapping, name):
                found.pop(name, None)
    told = {} if card is None else card.model_dump(exclude_unset=True)
    said = {**found, **{name: value for name, value in told.items() if value not in ("", None)}}
    return SourceCard.model_validate(said) if said else None


def _read(label: str, value: str) -> dict[str, Any]:
    if re.search(r"time\s*zone|zeitzone|fuseau horaire|zona horaria", label):
        zone = _zone(value)
        return {"account_timezone": zone} if zone else {}
    if re.search(r"currency|währung|devise|moneda", label):
        code = _CODE.search(value)
        return {"currency": code[0]} if code else {}
    if re.search(r"attribution|look\s*-?back|conversion window", label):
        window = _window(value, label)
        return {"headline": window} if window else {}
    for name, labels in _CARD_NAMES.items():
        if label in labels and value:
            return {name: value[:200]}
    return {}


def _zone(value: str) -> str | None:
    for name in _ZONE.findall(value):
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
        return str(name)
    named = re.search(r"\b(pacific|mountain|central|eastern)\b(?:\s+\w+)?\s+time\b", value, re.IGNORECASE)
    if named:
        return _NAMED_ZONES[named[1].lower()]
    return "UTC" if _UNIVERSAL.search(value) else None


def _window(value: str, label: str) -> dict[str, int]:
    """Days after a click and after a view. A number of days without such a word counts from the click."""
    views = _VIEW_DAYS.search(value)
    rest = value.replace(views[0], " ") if views else value
    clicks = None if "view" in label else _CLICK_DAYS.search(rest)
    found = {"window_click_days": clicks, "window_view_days": views}
    if "view" in label and not views:
        found["window_view_days"] = _CLICK_DAYS.search(value)
    return {name: int(match[1]) for name, match in found.items() if match and int(match[1]) <= 400}
