"""The controls of a training run: each with its bounds and a help of at most twenty words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from core.training.records import LINEAR_LAYERS, LoraSpec, TrainingSpec

Value = int | float | str | bool | list[str]


@dataclass(frozen=True, slots=True)
class Control:
    """One field of TrainingSpec (`lora.rank` is rank of its lora) as a widget."""

    field: str
    label: str
    kind: Literal["whole", "number", "rate", "choice", "switch", "several"]
    low: float = 0
    high: float = 0
    step: float = 1
    options: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """The description of the field."""
        owner, _, name = self.field.rpartition(".")
        fields = (LoraSpec if owner == "lora" else TrainingSpec).model_fields
        return fields[name].description or ""


MAIN = (
    Control("epochs", "Epochs", "number", 0.5, 100, 1),
    Control("learning_rate", "Learning rate", "rate", 1e-6, 0.1, 1e-4),
    Control("lora.rank", "Rank", "whole", 1, 256, 4),
)
MORE = {
    "Adapter": (
        Control("lora.alpha", "Alpha", "number", 1, 1024, 8),
        Control("lora.dropout", "Dropout", "number", 0, 0.9, 0.05),
        Control("lora.target_modules", "Layers", "several", options=LINEAR_LAYERS),
        Control("lora.rslora", "Rank-stabilized scaling", "switch"),
        Control("quantization", "Base held in", "choice", options=("none", "8bit", "4bit")),
    ),
    "Learning": (
        Control("batch_size", "Batch size", "whole", 1, 256, 1),
        Control("gradient_accumulation", "Passes per step", "whole", 1, 256, 1),
        Control("schedule", "Schedule", "choice", options=("cosine", "linear", "constant")),
        Control("warmup_ratio", "Warm-up", "number", 0, 0.95, 0.01),
        Control("weight_decay", "Weight decay", "number", 0, 1, 0.01),
    ),
    "Run": (
        Control("max_length", "Longest example, tokens", "whole", 16, 131072, 64),
        Control("seed", "Seed", "whole", 0, 2**31 - 1, 1),
        Control("checkpoint_every", "Steps between checkpoints", "whole", 1, 100000, 5),
        Control("evaluate", "Compare with the base when done", "switch"),
        Control("evaluation_rows", "Most rows evaluated", "whole", 1, 100000, 20),
    ),
}
CONTROLS = (*MAIN, *(control for group in MORE.values() for control in group))
FIELDS = frozenset(control.field for control in CONTROLS)


def value_of(spec: TrainingSpec, field: str) -> Any:
    """The value of a field, `lora.` ones included."""
    owner, _, name = field.rpartition(".")
    return getattr(spec.lora if owner == "lora" else spec, name)


def with_changes(spec: TrainingSpec, changes: Mapping[str, str]) -> TrainingSpec:
    """The spec with the changed fields, validated as a whole. Raises pydantic's ValidationError."""
    values = spec.model_dump()
    for field, text in changes.items():
        owner, _, name = field.rpartition(".")
        (values["lora"] if owner == "lora" else values)[name] = (
            text.split(",") if name == "target_modules" else text
        )
    return TrainingSpec.model_validate(values)


def show_control(control: Control, spec: TrainingSpec, *, key: str) -> str:
    """Draw the control with the spec's value; what is chosen comes back as the text that the draft keeps."""
    value = value_of(spec, control.field)
    match control.kind:
        case "switch":
            return str(st.toggle(control.label, bool(value), help=control.help, key=key)).lower()
        case "choice":
            options = list(control.options)
            return st.selectbox(
                control.label, options, index=options.index(value), help=control.help, key=key
            )
        case "several":
            chosen = st.multiselect(
                control.label, control.options, default=list(value), help=control.help, key=key
            )
            return ",".join(chosen)
        case "whole":
            return str(
                st.number_input(
                    control.label,
                    int(control.low),
                    int(control.high),
                    int(value),
                    int(control.step),
                    help=control.help,
                    key=key,
                )
            )
        case "number" | "rate":
            shown = st.number_input(
                control.label,
                float(control.low),
                float(control.high),
                float(value),
                float(control.step),
                format="%.2e" if control.kind == "rate" else "%g",
                help=control.help,
                key=key,
            )
            return f"{shown:.12g}"


def as_text(spec: TrainingSpec, field: str) -> str:
    """The value of a field as the draft would keep it: to see whether a control was changed."""
    value = value_of(spec, field)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
