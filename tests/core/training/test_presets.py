import pytest

from core.errors import InvalidInputError
from core.registry.records import AdapterType
from core.training.presets import CONTROL_HELP, PRESETS, plan_spec
from core.training.records import LoraSpec, TrainingSpec

MOST_WORDS = 20


@pytest.mark.parametrize("preset", [p.name for p in PRESETS])
@pytest.mark.parametrize("adapter_type", list(AdapterType))
def test_every_preset_gives_a_valid_run_for_every_type(preset: str, adapter_type: AdapterType) -> None:
    spec = plan_spec(preset, adapter_type, "ds_1", "name")
    assert (spec.preset, spec.adapter_type, spec.dataset_id) == (preset, adapter_type, "ds_1")


def test_presets_grow_from_quick_to_thorough() -> None:
    for adapter_type in AdapterType:
        passes = [plan_spec(p, adapter_type, "ds", "n").epochs for p in ("quick", "balanced", "thorough")]
        assert passes == sorted(passes)
        assert passes[0] < passes[2]


def test_every_control_has_a_help_of_at_most_twenty_words() -> None:
    fields = {*TrainingSpec.model_fields, *(f"lora.{name}" for name in LoraSpec.model_fields)} - {"lora"}
    assert set(CONTROL_HELP) == fields
    for name, text in CONTROL_HELP.items():
        assert 2 <= len(text.split()) <= MOST_WORDS, name
    for preset in PRESETS:
        assert 2 <= len(preset.description.split()) <= MOST_WORDS, preset.name


def test_overrides_win_over_the_preset_and_keep_the_rest_of_the_lora() -> None:
    spec = plan_spec("quick", "brand", "ds", "n", epochs=3, lora={"rank": 4}, learning_rate=None)
    default = plan_spec("quick", "brand", "ds", "n")
    assert (spec.epochs, spec.lora.rank) == (3, 4)
    assert (spec.lora.alpha, spec.learning_rate) == (default.lora.alpha, default.learning_rate)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"preset": "turbo"}, "no preset"),
        ({"adapter_type": "poet"}, "no adapter type"),
        ({"name": "../x"}, "name"),
        ({"epochs": 0}, "epochs"),
        ({"lora": {"rank": 0}}, "lora.rank"),
        ({"warp": 9}, "warp"),
    ],
)
def test_a_plan_that_cannot_be_names_what_is_wrong(changes: dict[str, object], says: str) -> None:
    values: dict[str, object] = {"preset": "quick", "adapter_type": "task", "dataset": "ds", "name": "n"}
    with pytest.raises(InvalidInputError) as refused:
        plan_spec(**(values | changes))  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert "pydantic" not in str(refused.value)
