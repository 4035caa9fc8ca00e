"""Which layout the rows of a file have: detected from its columns, said with the reason, never guessed silently."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from core.datasets.records import DatasetKind, Layout, Split
from core.datasets.rows import Row
from core.datasets.turns import calls_tools
from core.errors import InvalidInputError

SPLIT_WORDS: Mapping[str, Split] = MappingProxyType(
    {
        "train": Split.TRAIN,
        "training": Split.TRAIN,
        "validation": Split.VALIDATION,
        "valid": Split.VALIDATION,
        "val": Split.VALIDATION,
        "dev": Split.VALIDATION,
        "test": Split.TEST,
    }
)
#: Words for a thumb up and a thumb down.
LIKED: Mapping[str, bool] = MappingProxyType(
    {
        "true": True,
        "1": True,
        "yes": True,
        "desirable": True,
        "false": False,
        "0": False,
        "no": False,
        "undesirable": False,
    }
)
#: Columns that a row of the layout must have, and those that it may have.
NEEDED: Mapping[Layout, frozenset[str]] = MappingProxyType(
    {
        Layout.PROMPT_COMPLETION: frozenset({"prompt", "completion"}),
        Layout.MESSAGES: frozenset({"messages"}),
        Layout.PREFERENCES: frozenset({"chosen", "rejected"}),
        Layout.ALPACA: frozenset({"instruction", "output"}),
        Layout.SHAREGPT: frozenset({"conversations"}),
        Layout.TOOL_CALLS: frozenset({"messages"}),
        Layout.LABELS: frozenset({"prompt", "completion", "label"}),
        Layout.FIELD_MAPPINGS: frozenset({"source_field", "target", "transform"}),
    }
)
ALLOWED: Mapping[Layout, frozenset[str]] = MappingProxyType(
    {
        Layout.PREFERENCES: frozenset({"prompt"}),
        Layout.ALPACA: frozenset({"input", "system", "history"}),
        Layout.SHAREGPT: frozenset({"system", "tools"}),
        Layout.TOOL_CALLS: frozenset({"tools"}),
        Layout.FIELD_MAPPINGS: frozenset(
            {"qualifiers", "retailer", "network", "samples", "note", "confidence", "reason"}
        ),
    }
)
_WIDER = MappingProxyType({Layout.LABELS: Layout.PROMPT_COMPLETION, Layout.TOOL_CALLS: Layout.MESSAGES})
_WORDS = MappingProxyType(
    {
        Layout.PROMPT_COMPLETION: "prompts with their completions",
        Layout.MESSAGES: "conversations as lists of messages",
        Layout.PREFERENCES: "preference pairs (chosen and rejected answers)",
        Layout.ALPACA: "Alpaca instructions",
        Layout.SHAREGPT: "ShareGPT conversations",
        Layout.TOOL_CALLS: "conversations that call tools",
        Layout.LABELS: "answers with a thumb up or down",
        Layout.FIELD_MAPPINGS: "rules of an RMIS mapping",
    }
)


@dataclass(frozen=True, slots=True)
class Outline:
    """What the first row says about all rows. `why` is the layout and its reason as a sentence."""

    layout: Layout
    names_splits: bool
    ignored_columns: tuple[str, ...]
    why: str = ""

    @property
    def kind(self) -> DatasetKind:
        """What a dataset of this layout is for."""
        kinds = {Layout.PREFERENCES: DatasetKind.DPO, Layout.LABELS: DatasetKind.KTO}
        return kinds.get(self.layout, DatasetKind.SFT)


def outline_of(row: Row) -> Outline:
    """Layout of a file, from its first row. Raises InvalidInputError that names the columns found."""
    columns = row.values
    fits = [layout for layout in Layout if fits_layout(layout, columns)]
    narrow = [layout for layout in fits if layout not in {_WIDER.get(other) for other in fits}]
    if len(narrow) == 1:
        layout = narrow[0]
        known = NEEDED[layout] | ALLOWED.get(layout, frozenset()) | {"split", "slice"}
        ignored = tuple(sorted(set(columns) - known))
        named = ", ".join(sorted(known & set(columns) - {"split", "slice"}))
        why = f"The rows are {_WORDS[layout]}: the first one has {named}."
        return Outline(layout, bare(columns.get("split")) != "", ignored, why)
    shown = ", ".join(sorted(columns))[:300] or "none"
    raise InvalidInputError(
        "The rows fit more than one layout." if fits else "The rows are not training examples.",
        f"Columns found: {shown}.",
        "Use prompt and completion, or messages, or prompt, chosen and rejected; split and slice may follow."
        " Alpaca, ShareGPT, prompt with completion and label, and RMIS mapping rules are read too.",
    )


def fits_layout(layout: Layout, values: Mapping[str, Any]) -> bool:
    """Whether a row has the columns of `layout`, with values that make it that one and no wider one."""
    if not NEEDED[layout] <= values.keys():
        return False
    if layout is Layout.LABELS:
        return bare(values["label"]).lower() in LIKED
    if layout is Layout.TOOL_CALLS:
        return values.get("tools") not in (None, "", []) or calls_tools(values["messages"])
    return True


def bare(value: Any) -> str:
    """A value as text without white space around it."""
    return "" if value is None else str(value).strip()
