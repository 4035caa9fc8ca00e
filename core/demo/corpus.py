"""The generated pretraining corpus of the shipped base model: seeded, endless, free of every test retailer.

Document `i` is a function of (seed, i) alone, so that an interrupted run continues where it stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from core.demo.exercises import EXERCISES
from core.demo.invented import invent_retailer
from core.demo.prompts import Message, chat
from core.demo.retailers import RetailerSpec

CORPUS_SEED = 20_261_101
OPAQUE_RETAILERS = 96
SYSTEM = "You harmonize retail media data into RMIS."

#: Kind of document -> its share of the documents.
MIXTURE: tuple[tuple[str, int], ...] = (
    ("known_record", 18),
    ("known_part", 22),
    ("fresh_record", 12),
    ("fresh_part", 12),
    ("hinted_record", 5),
    ("code_table", 3),
    ("read", 4),
    ("column", 7),
    ("fields", 2),
    ("drill", 11),
    ("objective", 2),
    ("copywriting", 2),
)

#: The first documents are short and about words: values that are not digits are otherwise learned very late.
EARLY_DOCUMENTS = 48_000
EARLY_MIXTURE: tuple[tuple[str, int], ...] = (
    ("fresh_code", 40),
    ("word_copy", 16),
    ("word_read", 16),
    ("fresh_part", 10),
    ("known_part", 8),
    ("code_table", 4),
    ("drill", 6),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """An endless stream of conversations; `known` are the opaque retailers that recur in it."""

    seed: int
    known: tuple[RetailerSpec, ...]

    def documents(self, start: int = 0) -> Iterator[list[Message]]:
        """Conversations number `start`, `start` + 1, … without end."""
        index = start
        while True:
            yield self.document(index)
            index += 1

    def document(self, index: int) -> list[Message]:
        rng = Random(f"{self.seed}:{index}")
        kinds, shares = zip(*(EARLY_MIXTURE if index < EARLY_DOCUMENTS else MIXTURE), strict=True)
        kind = rng.choices(kinds, shares)[0]
        prompt, answer = EXERCISES[kind](self.known, rng)
        system = SYSTEM if rng.random() < 0.05 else ""
        return chat(prompt, answer, system)


@lru_cache(maxsize=4)
def base_corpus(seed: int = CORPUS_SEED) -> Corpus:
    """The corpus of that seed, with its recurring opaque retailers."""
    rng = Random(f"{seed}:retailers")
    return Corpus(seed, tuple(invent_retailer(rng, opaque=True) for _ in range(OPAQUE_RETAILERS)))
