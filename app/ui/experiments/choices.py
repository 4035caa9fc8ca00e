"""What may be an arm: the base, and every version of every adapter and federation of the workspace."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.actions import adapters, compositions
from app.ui.compose.terms import usable
from app.ui.experiments.form import BASE
from app.ui.text import plain
from app.ui.visit import Visit
from core.experiments.records import Arm


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that can answer. `key` is how an experiment names it."""

    key: str
    label: str
    kind: str

    @property
    def title(self) -> str:
        """For a list."""
        return f"{plain(self.label, 60)} ({self.kind})" if self.kind else plain(self.label, 60)


def choices_for(visit: Visit) -> dict[str, Choice]:
    """By key: adapters by name with the newest version first, then federations, then the base alone."""
    found: dict[str, Choice] = {}
    base = visit.console.base().digest
    for adapter in usable(adapters.list_adapters(visit.console, visit.principal), base):
        key = f"adapter:{adapter.name}@{adapter.version}"
        found[key] = Choice(key, adapter.label, f"{adapter.type.value} adapter")
    for federation in compositions.list_federations(visit.console, visit.principal):
        for version in range(federation.version, 0, -1):
            key = f"federation:{federation.name}@{version}"
            found[key] = Choice(key, f"{federation.name} v{version}", "federation")
    found[BASE] = Choice(BASE, "The base alone", "")
    return found


def arm_words(arm: Arm) -> str:
    """What an arm is, as far as it is known: its label, else how it was written."""
    written = arm.composition.get("model")
    if arm.label or not written:
        return arm.label or arm.id
    kind, _, name = str(written).rpartition(":")
    return name.replace("@", " v") if kind in ("adapter", "federation") else str(written)


def titles(choices: Mapping[str, Choice], keys: tuple[str, ...]) -> list[str]:
    """The labels of these arms; what is not there any more by its key."""
    return [choices[key].label if key in choices else key for key in keys]
