"""Starting points of a run, by what the adapter is to teach, and the help of every control."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from core.datasets.records import Dataset
from core.errors import InvalidInputError
from core.registry.records import AdapterType
from core.training.records import LoraSpec, Preset, TrainingSpec, readable_reasons

PRESETS: tuple[Preset, ...] = (
    Preset(
        "quick",
        "Quick",
        "A first look: half the passes. Good to see whether the data is right.",
        {"epochs": 4.0, "learning_rate": 2e-3},
    ),
    Preset(
        "balanced",
        "Balanced",
        "What most adapters want: enough passes to learn the data.",
        {"epochs": 8.0, "learning_rate": 2e-3},
    ),
    Preset(
        "thorough",
        "Thorough",
        "More passes at a lower rate. Slower; for code tables and other facts that must be exact.",
        {"epochs": 12.0, "learning_rate": 1.5e-3},
    ),
)
# What a kind of adapter wants instead. Retailers: measured on the shipped base with retailers made for tuning and
# none of the shipped ones. Batches of 4 learn more from a pass than batches of 8 in about the same time (a development
# retailer, 4 passes, n 150: 93 % against 87 % exact on a variant of the base).
TYPE_VALUES: Mapping[AdapterType, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        AdapterType.RETAILER: {
            "quick": {"epochs": 2.0, "learning_rate": 2.5e-3, "batch_size": 4},
            "balanced": {"epochs": 4.0, "learning_rate": 2.5e-3, "batch_size": 4},
            "thorough": {"epochs": 8.0, "learning_rate": 2e-3, "batch_size": 4},
        }
    }
)


def preset_named(name: str) -> Preset:
    """The preset of that name. Raises InvalidInputError."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise InvalidInputError(
        f"There is no preset «{name[:40]}».", "", f"Use one of {', '.join(p.name for p in PRESETS)}."
    )


def plan_spec(
    preset: str, adapter_type: AdapterType | str, dataset: Dataset | str, name: str, **overrides: Any
) -> TrainingSpec:
    """A run from a preset for this kind of adapter; `overrides` are fields of TrainingSpec, `lora` a mapping.

    `dataset` is the set or its id. Raises InvalidInputError that names each value that is wrong.
    """
    chosen = preset_named(preset)
    try:
        kind = AdapterType(adapter_type)
    except ValueError:
        raise InvalidInputError(
            f"«{str(adapter_type)[:40]}» is no adapter type.", "", f"Use one of {', '.join(AdapterType)}."
        ) from None
    values = _merged(chosen.values, TYPE_VALUES.get(kind, {}).get(chosen.name, {}), overrides)
    required = {
        "name": name,
        "adapter_type": kind,
        "dataset_id": dataset if isinstance(dataset, str) else dataset.id,
        "preset": chosen.name,
    }
    try:
        return TrainingSpec.model_validate({**values, **required})
    except ValueError as error:
        raise InvalidInputError(
            "This training run cannot be planned.", readable_reasons(error), "Correct the values."
        ) from None


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if value is None:
                continue
            both = key == "lora" and isinstance(value, Mapping) and key in merged
            merged[key] = {**merged[key], **value} if both else value
    return merged


CONTROL_HELP: Mapping[str, str] = MappingProxyType(
    {
        **{
            name: field.description or ""
            for name, field in TrainingSpec.model_fields.items()
            if name != "lora"
        },
        **{f"lora.{name}": field.description or "" for name, field in LoraSpec.model_fields.items()},
    }
)
