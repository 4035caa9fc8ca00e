"""What an answer cost, beside the others of one prompt."""

from app.ui.compose.answer import answer_row
from core.analytics.costs import Prices
from core.serve.records import InferenceAnswer

ANSWER = InferenceAnswer(
    request_id="req_1",
    text="Plan",
    finish_reason="stop",
    model="alpha",
    adapters=(),
    composition_key="k",
    base_name="base",
    prompt_tokens=1_000,
    completion_tokens=500,
    latency_ms=800.0,
    queued_ms=300.0,
    mean_logprob=-0.1,
)


def test_an_answer_costs_what_its_tokens_cost() -> None:
    row = answer_row("Alpha", ANSWER, Prices(prompt=2.0, completion=6.0, currency="EUR"))
    assert row["cost"] == 0.005
    assert (row["engine"], row["tokens_in"], row["tokens_out"]) == (0.5, 1_000, 500)


def test_without_prices_an_answer_costs_nothing_and_its_seconds_are_told() -> None:
    assert answer_row("Alpha", ANSWER, Prices())["cost"] == 0.0
    assert not Prices().known
