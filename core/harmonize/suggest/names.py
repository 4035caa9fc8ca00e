"""What a column's name says: its words as concepts, and from these the RMIS columns that it can mean."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from core.harmonize.suggest.lexicon import (
    MEASURES,
    NUMBER,
    UNKNOWN,
    Meaning,
    free_for,
    leftover_cost,
    lexicon,
    names_a_thing,
    word_key,
)
from core.harmonize.suggest.tokens import is_unspaced, split_name

WINDOW = "window"
MAX_READINGS = 12
MAX_WORDS = 40
#: Longer runs of letters are no words; taking them apart would only cost time.
LONGEST_WORD = 40
#: How much a word counts that was only recognised by its likeness to a known one.
ALIKE = 0.8
_BARE_WINDOWS = frozenset(["1", "3", "7", "14", "15", "28", "30", "45", "60", "90"])
_SHORT_PARTS = frozenset(["id", "ad", "of", "per", "sku", "qty", "upc", "ean", "nr", "no"])
_VOWELS = re.compile(r"[aeiouy]")


@dataclass(frozen=True, slots=True)
class Piece:
    """One or several words of a name with the concept they stand for. `number`: days of a window, else None."""

    concept: str
    text: str
    strength: float = 1.0
    days: float | None = None


@dataclass(frozen=True, slots=True)
class NameSense:
    """How well a name fits one target, and the words that say so."""

    score: float
    words: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class NameReading:
    """A name taken apart. `senses`: target → sense; the target "" stands for no place in RMIS."""

    name: str
    words: tuple[str, ...]
    pieces: tuple[Piece, ...]
    senses: MappingProxyType[str, NameSense] = field(default_factory=lambda: MappingProxyType({}))

    def concepts(self) -> frozenset[str]:
        """The concepts of the likeliest reading."""
        return frozenset(piece.concept for piece in self.pieces)

    def score(self, target: str) -> float:
        """0 (says nothing of it) to 1 (is its very name)."""
        sense = self.senses.get(target)
        return sense.score if sense else 0.0


@lru_cache(maxsize=4096)
def read_name(name: str) -> NameReading:
    """Take a name apart and find what it can mean. Never fails: an unknown name has no senses."""
    words = tuple(itertools.chain.from_iterable(_spaced(word) for word in split_name(name, _is_word)))[
        :MAX_WORDS
    ]
    cut = _cut(words)
    senses: dict[str, NameSense] = {}
    best: tuple[float, tuple[Piece, ...]] = (-1.0, tuple(_first(choice) for choice in cut))
    for reading in itertools.islice(itertools.product(*cut), MAX_READINGS):
        for target, sense in _senses(reading):
            known = senses.get(target)
            if known is None or sense.score > known.score:
                senses[target] = sense
            if sense.score > best[0]:
                best = (sense.score, reading)
    return NameReading(name, words, best[1], MappingProxyType(senses))


def _is_word(word: str) -> bool:
    return word.isalpha() and word_key((word,)) in lexicon().words


def _first(choice: tuple[Piece, ...]) -> Piece:
    return choice[0]


def _senses(reading: tuple[Piece, ...]) -> Iterator[tuple[str, NameSense]]:
    present = {piece.concept for piece in reading}
    if not present:
        return
    table = lexicon().meanings
    seen: set[int] = set()
    for concept in present:
        for meaning in table.get(concept, ()):
            if id(meaning) not in seen and meaning.concepts <= present:
                seen.add(id(meaning))
                yield meaning.target, _fit(meaning, reading)


def _fit(meaning: Meaning, reading: tuple[Piece, ...]) -> NameSense:
    """A meaning's weight times the share of the name that it explains."""
    free = free_for(meaning.target)
    thing = names_a_thing(meaning.target)
    explained = leftover = 0.0
    words: list[str] = []
    said = [index for index, piece in enumerate(reading) if piece.concept in meaning.concepts]
    for index, piece in enumerate(reading):
        if piece.concept in meaning.concepts:
            explained += piece.strength
            words.append(piece.text)
        elif piece.concept not in free or (piece.concept in MEASURES and index > said[-1]):
            early = index < said[-1]
            leftover += leftover_cost(piece.concept, early=early, first=index == 0, thing=thing)
    count = len(said)
    score = meaning.weight * (explained / count) * count / (count + leftover)
    # The head of a name stands last: of two meanings that explain as much, the later one is meant.
    score -= 0.02 * (len(reading) - 1 - sum(said) / count) / len(reading)
    return NameSense(max(score, 0.0), " ".join(words), reading)


def _spaced(word: str) -> list[str]:
    """Words of a script without spaces, and words that run together, taken apart where all parts are known."""
    words = lexicon().words
    if is_unspaced(word):
        return _unspaced(word)
    if word_key((word,)) in words or not word.isalpha() or not 5 <= len(word) <= LONGEST_WORD:
        return [word]
    return list(_parts(word)) or [word]


def _unspaced(text: str) -> list[str]:
    found: list[str] = []
    at, known = 0, lexicon().unspaced
    while at < len(text):
        match = next((word for word in known if text.startswith(word, at)), "")
        if match:
            found.append(match)
            at += len(match)
        elif found and found[-1] not in lexicon().words:
            found[-1] += text[at]
            at += 1
        else:
            found.append(text[at])
            at += 1
    # One sign between known words is an ending or a particle.
    return [word for word in found if len(word) > 1 or word in lexicon().words] or [text]


@lru_cache(maxsize=8192)
def _parts(word: str) -> tuple[str, ...]:
    """The fewest known words that make up this one, or nothing."""
    words = lexicon().words
    best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
    for end in range(2, len(word) + 1):
        for start in range(end - 1):
            before, part = best[start], word[start:end]
            if before is None or len(before) >= 4 or (len(part) < 4 and part not in _SHORT_PARTS):
                continue
            if word_key((part,)) in words and (best[end] is None or len(before) + 1 < len(best[end] or ())):
                best[end] = (*before, part)
    return best[len(word)] or ()


def _cut(words: Sequence[str]) -> list[tuple[Piece, ...]]:
    """The name as the fewest pieces, longest entries of the vocabulary first; each with its possible concepts."""
    count = len(words)
    best: list[tuple[float, list[tuple[Piece, ...]]]] = [(0.0, [])]
    best.extend((1e9, []) for _ in range(count))
    for end in range(1, count + 1):
        for start in range(max(0, end - lexicon().longest), end):
            pieces, cost = _piece(words, start, end)
            cost -= 0.02 * (end - start) ** 2
            # Of equal cuts the one with the longer first piece: «all conversions | value».
            if pieces and best[start][0] + cost < best[end][0] + 1e-9:
                best[end] = (best[start][0] + cost, [*best[start][1], pieces])
    return best[count][1]


def _piece(words: Sequence[str], start: int, end: int) -> tuple[tuple[Piece, ...], float]:
    part = words[start:end]
    text = " ".join(part)
    concepts = lexicon().words.get(word_key(part), ())
    window = _window(words, start, end)
    if window is not None:
        return (Piece(WINDOW, text, days=window),), 0.7
    if concepts:
        return tuple(Piece(concept, text) for concept in concepts), 1.0 + 0.05 * (
            part[0] in ["the", "of", "in"]
        )
    if len(part) > 1:
        return (), 0.0
    if part[0].isdecimal():
        return (Piece(NUMBER, text),), 1.3
    alike = _alike(part[0])
    if alike:
        return tuple(Piece(concept, text, ALIKE) for concept in alike), 1.2
    return (Piece(UNKNOWN, text),), 1.5


def _window(words: Sequence[str], start: int, end: int) -> float | None:
    """Days of an attribution window that these words say: «14 d», «L 30», «30 days», «720 hours»."""
    part = words[start:end]
    numbers = [word for word in part if word.isdecimal() and len(word) < 4]
    if len(numbers) != 1 or len(part) > 3 or not 0 < int(numbers[0]) <= 720:
        return None
    number, rest = int(numbers[0]), [word for word in part if not word.isdecimal()]
    if not rest:
        return float(number) if numbers[0] in _BARE_WINDOWS and start > 0 else None
    known = lexicon().words
    units = {concept for word in rest for concept in known.get(word_key((word,)), ("?",))}
    if "hourword" in units and len(rest) == 1 and part[0] == numbers[0]:
        return number / 24
    if number > 400 or not all(
        word in _LEADS or "dayword" in known.get(word_key((word,)), ()) for word in rest
    ):
        return None
    return float(number) if units & {"dayword"} or rest[0] in _LEADS else None


_LEADS = frozenset(["l", "last", "past", "d", "p"])


@lru_cache(maxsize=8192)
def _alike(word: str) -> tuple[str, ...]:
    """Concepts of the one known word that this is a misspelling or a shortening of."""
    if not 4 <= len(word) <= LONGEST_WORD or not word.isalpha():
        return ()
    bones = _VOWELS.sub("", word[1:])
    for known in _by_letter().get(word[0], ()):
        if _one_edit(word, known):
            return lexicon().words[known]
    for known in _by_letter().get(word[0], ()):
        if len(known) - len(word) >= 2 and len(bones) >= 2 and _VOWELS.sub("", known[1:]) == bones:
            return lexicon().words[known]
    return ()


@lru_cache(maxsize=1)
def _by_letter() -> MappingProxyType[str, tuple[str, ...]]:
    """Known single words of six letters and more, by their first letter; things and counts only."""
    found: dict[str, list[str]] = defaultdict(list)
    for word, concepts in lexicon().words.items():
        telling = [concept for concept in concepts if concept not in ("filler", "noplace")]
        if len(word) >= 6 and word.isalpha() and word.isascii() and telling:
            found[word[0]].append(word)
    return MappingProxyType({letter: tuple(words) for letter, words in found.items()})


def _one_edit(left: str, right: str) -> bool:
    """Whether one letter more, less or other makes the words equal."""
    if abs(len(left) - len(right)) > 1 or len(left) < 6:
        return False
    shorter, longer = sorted((left, right), key=len)
    at = next((i for i, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    if len(left) == len(right):
        return left[at + 1 :] == right[at + 1 :]
    return shorter[at:] == longer[at + 1 :]
