"""The question that a new version answers before anybody else asks it something."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from core.engine.records import Composition, EnginePort, Generation, GenerationRequest, Message
from core.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Canary:
    """Greedy answers of at most `tokens` tokens, each within `time_limit_s`. What they say is not judged."""

    prompts: tuple[str, ...] = ("Hello",)
    tokens: int = 8
    time_limit_s: float = 30.0

    def ask(
        self, engine: EnginePort, compositions: Sequence[Composition], prompts: Sequence[str] | None = None
    ) -> int:
        """Let each composition answer each prompt, or the canary's own. Answers how many tokens that were.

        Raises UnavailableError when an answer is not of numbers or not there in time, and what `generate` raises.
        """
        tokens = 0
        for composition in compositions:
            for prompt in prompts or self.prompts:
                generation = self._answer(engine, composition, prompt)
                tokens += generation.completion_tokens
        return tokens

    def _answer(self, engine: EnginePort, composition: Composition, prompt: str) -> Generation:
        until = time.monotonic() + self.time_limit_s
        generation = engine.generate(
            composition,
            GenerationRequest((Message("user", prompt),), max_new_tokens=self.tokens),
            cancelled=lambda: time.monotonic() > until,
        )
        if generation.finish_reason not in ("stop", "length"):
            raise UnavailableError(
                "The new version did not answer its test in time.",
                f"It had {self.time_limit_s:g} s.",
                "Try again when the engine is less busy.",
            )
        if not math.isfinite(generation.mean_logprob):
            raise UnavailableError(
                "The new version answered its test with values that are not numbers.",
                f"The mean log-probability was {generation.mean_logprob}.",
                "Check the adapter and its weight.",
            )
        return generation
