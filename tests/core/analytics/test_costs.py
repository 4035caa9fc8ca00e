"""Prices of tokens."""

from core.analytics.costs import Prices, money


def test_a_cost_is_tokens_times_price_and_exact_in_any_order() -> None:
    prices = Prices(0.15, 0.6, "EUR")
    one = prices.cost_nano(1_000, 200)
    assert one == 150_000 + 120_000
    assert money(one) == 0.00027
    assert sum([one] * 1_000_000) == one * 1_000_000
    assert prices.known


def test_without_prices_nothing_costs_anything() -> None:
    assert Prices().cost_nano(10**9, 10**9) == 0
    assert not Prices().known
