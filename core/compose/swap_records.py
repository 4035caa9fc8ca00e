"""What a name serves, and the changes of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.errors import IllegalTransitionError


class ServedKind(StrEnum):
    """What a name stands for."""

    ADAPTER = "adapter"
    FEDERATION = "federation"


class SwapState(StrEnum):
    """BUILDING: the new version is loaded beside the old. CANARY: it answers a test. SERVING: the name means it now,
    or did until the next swap. FAILED: it never served. ROLLED_BACK: it served, and the one before serves again."""

    BUILDING = "building"
    CANARY = "canary"
    SERVING = "serving"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


UNFINISHED = (SwapState.BUILDING, SwapState.CANARY)
NEXT = {
    SwapState.BUILDING: frozenset({SwapState.CANARY, SwapState.FAILED}),
    SwapState.CANARY: frozenset({SwapState.SERVING, SwapState.FAILED}),
    SwapState.SERVING: frozenset({SwapState.ROLLED_BACK}),
    SwapState.FAILED: frozenset[SwapState](),
    SwapState.ROLLED_BACK: frozenset[SwapState](),
}


def check_transition(before: SwapState, after: SwapState) -> None:
    """Raise IllegalTransitionError unless a swap may go from one state to the other."""
    if after not in NEXT[before]:
        raise IllegalTransitionError(
            f"A swap that is {before} cannot become {after}.",
            "Something else ended it.",
            "Look at its entry.",
        )


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the version that a name serves. `from_version` None: nothing served before.

    `figures`: how it was done («warm» or «cold») and what each step took, in milliseconds.
    """

    id: str
    tenant_id: str
    kind: ServedKind
    name: str
    from_version: int | None
    to_version: int
    state: SwapState
    reason: str
    created_by: str
    created_at: datetime
    finished_at: datetime | None = None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """The version that a name means, and the swap that made it so («»: a rollback to before the first)."""

    version: int
    swap_id: str
