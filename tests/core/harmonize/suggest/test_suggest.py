"""Whole reports: one decision for all columns. The reports are invented; their words are the trade's."""

import time

import polars as pl
import pytest

from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.suggest.evidence import VoiceOpinion
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.profile import profile_columns, profile_values
from core.harmonize.suggest.suggest import Suggestion, opinion_of, suggest, to_rules

CLICKS = [52, 31, 88, 17, 44, 63]
IMPRESSIONS = [4120, 2877, 9011, 1543, 3906, 5038]
COST = [41.22, 19.75, 63.10, 9.99, 35.42, 50.07]
SALES = [201.5, 99.1, 402.25, 12.4, 150.0, 260.9]
DAYS = [f"2026-03-0{day}" for day in range(1, 7)]
CARD = SourceCard(
    network="Pomelia", account_timezone="Europe/Berlin", currency="EUR", headline={"window_click_days": 14}
)


def read(
    card: SourceCard | None = CARD, /, *, options: dict | None = None, **columns: list
) -> dict[str, Suggestion]:
    profiles = [
        profile_values(name, [None if each is None else str(each) for each in values])
        for name, values in columns.items()
    ]
    return {each.source_field: each for each in suggest(profiles, card=card, builtins=(), **(options or {}))}


def targets(found: dict[str, Suggestion]) -> dict[str, tuple[str | None, str]]:
    return {name: (each.target, each.transform["op"]) for name, each in found.items()}


def test_a_plain_report_is_read() -> None:
    found = read(
        Day=DAYS,
        Campaign=["Spring", "Summer"] * 3,
        Impressions=IMPRESSIONS,
        Clicks=CLICKS,
        Spend=COST,
        Sales=SALES,
    )
    assert targets(found) == {
        "Day": ("ts", "to_utc"),
        "Campaign": ("campaign_name", "none"),
        "Impressions": ("impressions", "none"),
        "Clicks": ("clicks", "none"),
        "Spend": ("cost", "none"),
        "Sales": ("attributed_sales", "none"),
    }
    assert found["Sales"].qualifiers == {"window_click_days": 14}
    assert all(each.confidence > 0.7 for each in found.values())


def test_a_cost_that_stands_twice_is_summed_once() -> None:
    found = read(cost=COST, clicks=CLICKS, spend=COST)
    assert targets(found)["cost"] == ("cost", "none")
    assert targets(found)["spend"] == ("cost", "drop")


def test_a_rate_is_never_a_measure_whatever_its_name() -> None:
    rate = [f"{a / b:.4f}" for a, b in zip(COST, CLICKS, strict=True)]
    found = read(clicks=CLICKS, spend=COST, qzv=rate)
    assert targets(found)["qzv"] == ("derived.cpc", "drop")
    assert "«spend» ÷ «clicks»" in found["qzv"].reason


def test_a_rate_tells_what_an_unknown_column_is() -> None:
    ctr = [f"{100 * a / b:.3f}" for a, b in zip(CLICKS, IMPRESSIONS, strict=True)]
    found = read(qzv=IMPRESSIONS, clicks=CLICKS, ctr=ctr)
    assert found["qzv"].target == "impressions"


def test_views_are_impressions_where_nothing_else_is() -> None:
    assert read(Views=IMPRESSIONS, Clicks=CLICKS)["Views"].target == "impressions"


def test_an_order_beside_line_items_is_a_campaign() -> None:
    ids = [f"20433218196001338{day}" for day in range(6)]
    found = read(orderId=ids, lineItemId=ids[::-1], Impressions=IMPRESSIONS)
    assert found["orderId"].target == "campaign_id"
    assert found["lineItemId"].target == "ad_group_id"


def test_two_windows_stay_two_numbers_with_their_own_terms() -> None:
    found = read(
        sales_7d=SALES,
        sales_14d=[each + 5 for each in SALES],
        sales_14d_same_sku=[each / 2 for each in SALES],
    )
    assert {each.target for each in found.values()} == {"attributed_sales"}
    assert found["sales_7d"].qualifiers == {"window_click_days": 7}
    assert found["sales_14d_same_sku"].qualifiers == {"window_click_days": 14, "sku_scope": "same_sku"}
    assert all(each.transform["op"] == "none" for each in found.values())


def test_the_same_number_under_the_same_terms_is_kept_once() -> None:
    found = read(sales_14d=SALES, revenue_14d=SALES)
    assert sorted(each.transform["op"] for each in found.values()) == ["drop", "none"]


def test_there_is_one_time() -> None:
    found = read(
        date=DAYS,
        week_start=DAYS[:1] * 6,
        campaign_end_date=DAYS[::-1],
        event_time=[f"{day}T10:11:12Z" for day in DAYS],
    )
    assert [name for name, each in found.items() if each.target == "ts"] == ["event_time"]
    assert found["date"].target == "date_local"
    assert targets(found)["campaign_end_date"] == (None, "drop")


def test_what_nothing_speaks_for_is_not_guessed() -> None:
    found = read(xqz=[3, 1, 4, 1, 5, 9], clicks=CLICKS)["xqz"]
    assert found.abstained
    assert (found.target, found.transform) == (None, {"op": "none"})
    assert found.confidence <= 0.4
    assert found.reason


def test_an_abstention_names_the_two_best() -> None:
    found = read(qqz_position_qqx=["top", "bottom"] * 3)["qqz_position_qqx"]
    if found.abstained:
        assert "could be" in found.reason
        assert found.alternatives
    assert found.target != "position"


def test_a_description_helps_a_name_that_says_nothing() -> None:
    documents = {"kx1": "Number of clicks on the ad"}
    found = read(kx1=CLICKS, impressions=IMPRESSIONS, options={"documents": documents})
    assert found["kx1"].target == "clicks"


def test_a_correction_is_learned_for_the_network_and_weighs_less_elsewhere() -> None:
    rule = Rule(source_field="Stk", target="attributed_conversions", qualifiers={"window_click_days": 30})
    memory = Memory().learn(Mapping(network="Pomelia", rules=(rule,)))
    before = read(Stk=CLICKS)["Stk"]
    after = read(Stk=CLICKS, options={"memory": memory})["Stk"]
    elsewhere = read(SourceCard(network="Larkfield"), Stk=CLICKS, options={"memory": memory})["Stk"]
    assert before.target == elsewhere.target == "attributed_units"
    assert after.target == "attributed_conversions"
    assert after.qualifiers == {"window_click_days": 30}
    assert "confirmed" in after.reason


def test_another_voice_is_heard_where_the_rest_is_silent() -> None:
    def model(columns, card):
        return {"xqz": VoiceOpinion("reach", confidence=0.9), "clicks": VoiceOpinion("cost", confidence=0.9)}

    found = read(xqz=[3, 1, 4, 1, 5, 9], clicks=CLICKS, options={"voices": [model]})
    assert found["xqz"].target == "reach"
    assert found["clicks"].target == "clicks"


def test_a_voice_that_talks_nonsense_is_not_heard() -> None:
    assert opinion_of({"target": "no such column"}, 0.9) is None
    told = opinion_of({"target": "cost", "transform": {"op": "divide", "by": 100}}, 0.9)
    assert told is not None
    assert told.transform == Transform(op="divide", by=100)


def test_addresses_of_people_are_never_kept_as_they_are() -> None:
    found = read(
        xqz=[f"person{row}@mail.example" for row in range(6)], kpl=[f"10.0.0.{row}" for row in range(6)]
    )
    assert targets(found)["xqz"] == ("user_id", "pseudonymize")
    assert found["kpl"].transform["op"] in ("drop", "none", "pseudonymize")
    assert found["kpl"].target in (None, "user_id")


def test_a_customer_of_every_row_is_a_person_and_one_of_all_rows_an_account() -> None:
    many = [f"77{row}41" for row in range(9)]
    assert targets(read(**{"Customer ID": many}))["Customer ID"] == ("user_id", "pseudonymize")
    assert targets(read(**{"Customer ID": many[:1] * 9}))["Customer ID"] == ("account_id", "string_id")


def test_a_name_that_its_values_contradict_has_no_place() -> None:
    found = read(position=["ATF", "BTF"] * 3, new_to_brand=["true", "false"] * 3)
    assert targets(found) == {"position": (None, "drop"), "new_to_brand": (None, "drop")}


def test_a_list_of_events_is_made_rows() -> None:
    found = read(clicks=['[{"id": "a"}]', '[{"id": "b"}]'])["clicks"]
    assert found.target == "event_type"
    assert found.transform == {"op": "explode", "const": "click", "path": "clicks"}


def test_a_week_is_an_aggregate_although_its_first_day_stands_for_it() -> None:
    assert read(week=["2026-03-02", "2026-03-09"])["week"].transform["grain"] == "aggregate"


def test_suggestions_become_rules_of_a_mapping() -> None:
    found = read(
        Day=DAYS,
        xqz=[3, 1, 4, 1, 5, 9],
        spend_micros=[412200000, 19750000, 63100000, 9990000, 35420000, 50070000],
    )
    rules = {rule.source_field: rule for rule in to_rules(list(found.values()))}
    assert rules["xqz"].dropped
    assert rules["spend_micros"].transform.by == 1e6
    assert Mapping(rules=tuple(rules.values()))


def test_the_answer_does_not_change() -> None:
    once = read(Day=DAYS, a=CLICKS, b=COST, Sales=SALES)
    assert read(Day=DAYS, a=CLICKS, b=COST, Sales=SALES) == once
    assert [each.plain() for each in once.values()]


def test_shipped_reports_are_used_without_being_named() -> None:
    names = "date campaignId campaignName adGroupId adGroupName impressions clicks cost purchases14d sales14d".split()  # noqa: SIM905
    card = SourceCard(network="Amazon Ads", report="Sponsored Products campaigns")
    found = suggest([profile_values(name, ["1", "2"]) for name in names], card=card)
    assert found[-1].target == "attributed_sales"
    assert found[-1].qualifiers["touch"] == "click"
    assert "documentation" in found[-1].reason


@pytest.mark.parametrize("name", ["", " ", "=1+1", "\ud800", "a" * 5000, "\x00\u202e", "١٢٣"])
def test_hostile_names_are_only_names(name: str) -> None:
    found = suggest([profile_values(name or " ", ["1", "x", None])], builtins=())
    assert len(found) == 1
    assert 0 <= found[0].confidence <= 1


def test_long_senseless_names_and_endless_cells_take_bounded_time() -> None:
    names = ["".join(chr(97 + (7 * at + index * index) % 26) for index in range(300)) for at in range(60)]
    started = time.process_time()
    suggest(
        [profile_values(name, ["9" * 100_000, "a@" * 50_000, "1," * 50_000]) for name in names], builtins=()
    )
    assert time.process_time() - started < 5


def test_an_empty_report_has_no_suggestions() -> None:
    assert suggest([]) == []


def test_two_hundred_columns_are_read_in_a_moment() -> None:
    names = [
        f"{word} {index}"
        for index in range(40)
        for word in ("impr", "clicks", "ad spend", "order id", "sales 14d")
    ]
    frame = pl.DataFrame(
        {name: [f"{(row * 7919 + at * 31) % 100000}" for row in range(1000)] for at, name in enumerate(names)}
    )
    suggest(profile_columns(frame.head(1)), builtins=())
    started = time.process_time()
    assert len(suggest(profile_columns(frame), card=CARD)) == 200
    assert time.process_time() - started < 3
