"""The form of a new experiment: kept in the address, and turned into what the service takes."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from app.ui.experiments.form import Form, decode, encode, utc
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import Automatic, Strategy, UnitKind

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
FILLED = Form(
    step=4,
    name="Ümlaut <b>& more",
    control="adapter:calm@2",
    challengers=("federation:both@1", "base"),
    primary="latency_p95",
    margin=40.0,
    guardrails={"success": 1.5, "latency_p95": 10.0, "unknown": 1.0},
    targeting={"retailer": ("Retailer Alpha",), "brand": ()},
    ramp=((AT, 50.0),),
    share=10.0,
    unit=UnitKind.SESSION,
    equivalence=5.0,
)


def test_what_is_chosen_comes_back_from_the_address() -> None:
    assert decode(encode(FILLED)) == FILLED
    assert decode(encode(Form())) == Form()
    assert len(encode(FILLED)) < 600


@pytest.mark.parametrize("text", ["", "1", "not base64 ///", "eJw", "A" * 20_000, encode(FILLED)[:-9]])
def test_an_address_that_cannot_be_read_begins_anew(text: str) -> None:
    assert decode(text) == Form()


def test_a_small_text_that_unpacks_to_a_huge_one_begins_anew() -> None:
    import base64
    import zlib

    bomb = base64.urlsafe_b64encode(zlib.compress(b'{"name":"' + b"a" * 10_000_000 + b'"}', 9)).decode()
    assert decode(bomb[:12_000]) == Form()


def test_percent_and_units_become_what_the_service_takes() -> None:
    draft = FILLED.draft()
    assert (draft.primary.name, draft.primary.kind, draft.primary.quantile) == (
        "latency_ms",
        MetricKind.QUANTILE,
        0.95,
    )
    assert draft.primary.margin == 40.0
    assert not draft.primary.higher_is_better
    assert draft.equivalence == 5.0
    assert [(each.name, each.margin) for each in draft.guardrails] == [("success", 0.015)]
    assert draft.targeting == {"retailer": ("Retailer Alpha",)}
    assert (draft.share, draft.ramp[0].share, draft.ramp[0].at) == (0.1, 0.5, AT)
    assert draft.serves is not None
    assert (draft.serves.kind, draft.serves.name) == ("adapter", "calm")
    assert draft.strategy is Strategy.HASH


def test_arms_get_short_ids_of_their_own() -> None:
    form = Form(control="adapter:calm voice@2", challengers=("federation:calm voice@2", "base"))
    assert list(form.arm_ids().values()) == ["calm-voice-v2", "calm-voice-v2-2", "base"]
    hostile = Form(control="adapter:<b>" + "x" * 90 + "@1", challengers=("adapter:///@3",))
    assert all(len(each) <= 40 for each in hostile.arm_ids().values())
    assert hostile.model_copy(update={"name": "n"}).draft().arms[0].id.startswith("b-xxx")


def test_uneven_arms_are_weighted_and_only_where_the_traffic_is_split() -> None:
    form = Form(
        name="n", control="base", challengers=("adapter:a@1",), weights={"base": 90.0, "adapter:a@1": 10.0}
    )
    assert [arm.weight for arm in form.draft().arms] == [0.9, 0.1]
    assert form.draft().strategy is Strategy.WEIGHTED
    assert form.draft().serves is None  # the base is no name that can be swapped
    shadow = form.model_copy(update={"way": "shadow"}).draft()
    assert shadow.shadow
    assert [arm.weight for arm in shadow.arms] == [None, None]
    bandit = form.model_copy(update={"way": "bandit", "automatic": Automatic.ROLLBACK}).draft()
    assert bandit.strategy is Strategy.BANDIT


@pytest.mark.parametrize(
    ("control", "challengers", "may"),
    [
        ("adapter:calm@1", ("adapter:calm@2", "adapter:calm@3"), True),
        ("adapter:calm@1", ("adapter:calm@2", "adapter:warm@1"), False),
        ("federation:both@1", ("adapter:warm@1", "base"), True),
        ("base", ("adapter:warm@1",), False),
    ],
)
def test_only_what_a_name_can_mean_may_be_swapped_in(
    control: str, challengers: tuple[str, ...], may: bool
) -> None:
    form = Form(control=control, challengers=challengers)
    assert form.may_swap is may
    assert not form.model_copy(update={"takes_over": False}).may_swap


def test_a_plan_without_looks_has_no_planned_number() -> None:
    form = Form(name="n", control="base", challengers=("adapter:a@1",), planned_units=500)
    assert form.draft().planned_units is None
    assert form.model_copy(update={"mode": Mode.FIXED}).draft().planned_units == 500


def test_a_form_without_a_name_is_no_experiment() -> None:
    with pytest.raises(ValidationError):
        Form(control="base", challengers=("adapter:a@1",)).draft()


def test_an_own_metric_is_measured_as_it_is_named() -> None:
    form = Form(primary="own", own_name="cost_usd", own_kind=MetricKind.MEAN, own_higher=False, margin=0.25)
    assert form.measure.draft(0.25).margin == 0.25
    share = form.model_copy(update={"own_kind": MetricKind.SHARE})
    assert share.measure.draft(2.0).margin == 0.02


def test_a_moment_without_a_zone_is_of_utc() -> None:
    assert utc(datetime(2026, 3, 1, 9)) == AT
