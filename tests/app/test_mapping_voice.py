"""A retailer adapter as one voice of the suggester: the shipped one, on the real engine."""

from collections.abc import Callable
from typing import Any

import pytest

from app.actions import datasets, mapping_voice
from app.actions.mapping_voice import Heard
from app.bootstrap import Console, utc_now
from core.datasets import raw
from core.demo.workspace import prepare_workspace
from core.errors import NotFoundError
from core.harmonize.records import SourceCard
from core.settings import PROJECT_ROOT
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

ADAPTER = "retailer_beta"
#: What the columns of Retailer Beta are (datasets/sft/retailer_beta_columns.jsonl).
TRUTH = {
    "tgDat": "ts",
    "zn": "placement_type",
    "knr": "campaign_id",
    "crv": "creative_id",
    "gzg": "impressions",
    "drk": "clicks",
    "mkE": "cost",
    "bst": "attributed_conversions",
    "umE": "attributed_sales",
    "nwE": "ntb_sales",
}


@pytest.fixture(scope="module")
def shipped(console: Console) -> tuple[Console, Principal]:
    """The console with a workspace of the shipped sets and adapters, and somebody in it who may train."""
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Demo of voices", now=utc_now())
        prepare_workspace(s, tenant.id, project_root=PROJECT_ROOT, now=utc_now())
    return console, Principal(tenant.id, tenant.name, "trainer@demo.example", Role.TRAINER)


@pytest.fixture(scope="module")
def ask(shipped: tuple[Console, Principal]) -> Callable[..., Heard]:
    """A function: file of a shipped retailer → what is proposed with the adapter's voice."""
    console, principal = shipped

    def hear(retailer: str, **given: Any) -> Heard:
        dataset = datasets.find_dataset(console, principal, f"retailer_{retailer}_events")
        with raw.open_raw(dataset) as source:
            return mapping_voice.suggest_with_voice(
                console,
                principal,
                source,
                **{
                    "adapter": ADAPTER,
                    "card": SourceCard(retailer=f"Retailer {retailer.capitalize()}"),
                    "documents": {},
                    "memory": None,
                    **given,
                },
            )

    return hear


def targets(heard: Heard) -> dict[str, str | None]:
    return {each.source_field: each.target for each in heard.suggestions if not each.abstained}


def test_the_adapter_of_a_retailer_knows_columns_that_nothing_else_tells(ask: Callable[..., Heard]) -> None:
    silent = ask("beta", time_limit_s=0.0)
    heard = ask("beta")
    right = [name for name, target in targets(heard).items() if TRUTH.get(name, target) == target]
    assert (silent.answered, silent.tried) == (0, 0)
    assert len(targets(heard)) >= len(targets(silent)) + 3
    assert len(right) == len(targets(heard))
    assert heard.tried == heard.agreed >= 1
    assert heard.answered > 0
    assert heard.seconds < mapping_voice.TIME_LIMIT_S


def test_what_only_a_voice_says_is_never_sure_enough_to_be_accepted_unseen(ask: Callable[..., Heard]) -> None:
    silent = {each.source_field: each for each in ask("beta", time_limit_s=0.0).suggestions}
    for each in ask("beta").suggestions:
        if silent[each.source_field].abstained and not each.abstained:
            assert "another voice says so" in each.reason
            assert each.confidence < mapping_voice.SURE


def test_an_adapter_that_does_not_know_the_retailer_is_not_heard(ask: Callable[..., Heard]) -> None:
    silent, heard = ask("delta", time_limit_s=0.0), ask("delta")
    assert heard.tried == 0
    assert heard.answered > 0
    assert targets(heard) == targets(silent)


def test_sure_columns_are_not_asked_about(ask: Callable[..., Heard]) -> None:
    heard = ask("epsilon")
    silent = ask("epsilon", time_limit_s=0.0)
    assert heard.asked == sum(each.confidence < mapping_voice.SURE for each in silent.suggestions)
    assert heard.agreed < heard.tried <= mapping_voice.MOST_TRIED


@pytest.mark.parametrize(
    "text", ["", "not json", "[1]", "{}", '{"target": "no such column!"', '{"target":"cost","transform":7}']
)
def test_an_answer_that_is_no_rule_is_no_opinion(text: str) -> None:
    assert mapping_voice.read_answer(text, 0.9) is None


def test_an_adapter_that_there_is_not_is_refused(
    ask: Callable[..., Heard],
) -> None:
    with pytest.raises(NotFoundError):
        ask("beta", adapter="nobody")
