"""What tokens cost, by the prices that the settings name. A request keeps the cost that it had when it ended."""

from dataclasses import dataclass

NANO = 1_000_000_000  # costs are whole billionths of the currency, so that sums are exact in any order
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens read and generated, in `currency`. 0: tokens cost nothing, or nobody said what."""

    prompt: float = 0.0
    completion: float = 0.0
    currency: str = "USD"

    @property
    def known(self) -> bool:
        """Whether anything costs anything."""
        return self.prompt > 0 or self.completion > 0

    def cost_nano(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Of one request, in billionths, rounded once."""
        return round((prompt_tokens * self.prompt + completion_tokens * self.completion) * (NANO // MILLION))


def money(cost_nano: int) -> float:
    """Billionths in the currency itself."""
    return cost_nano / NANO
