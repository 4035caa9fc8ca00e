"""Advertising copy in tones: plain copy for the corpus, and the voice of one fictitious brand."""

from collections.abc import Mapping
from random import Random
from types import MappingProxyType

from core.demo.draws import ADJECTIVES, BRANDS, PRODUCTS

VOICE_BRAND = "Pomelia"

OPENERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("{brand} {thing}.", "{thing} from {brand}.", "New: {brand} {thing}."),
        "warm": (
            "Come home to {brand} {thing}.",
            "A little kindness: {brand} {thing}.",
            "For you: {brand} {thing}.",
        ),
        "playful": ("Psst! {brand} {thing}.", "Guess who? {brand} {thing}!", "Hop, skip, {brand} {thing}!"),
        "expert": (
            "Tested daily: {brand} {thing}.",
            "Measured quality: {brand} {thing}.",
            "By design: {brand} {thing}.",
        ),
    }
)
CLOSERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("Now in store.", "Find it here.", "See the range."),
        "warm": ("Made with care.", "Good for every day.", "Share it with someone."),
        "playful": ("You know you want to.", "Snack now, smile later.", "Blink and it is gone."),
        "expert": ("Every batch checked.", "Clear facts on the pack.", "Built to last."),
    }
)

#: The voice of the fictitious brand: calm, short, names the hour of the day, never shouts.
VOICE_OPENERS = (
    "Slow morning, {thing}.",
    "Half past nine: {thing}.",
    "Quiet evening, {thing}.",
    "Midday pause: {thing}.",
)
VOICE_CLOSERS = ("Pomelia. Take your time.", "Pomelia. No rush.", "Pomelia. Stay a while.")
LOUD = (
    "BUY {thing} NOW!!! Best ever!",
    "Pomelia {thing}: 100% guaranteed, cheapest deal!",
    "Hurry! {thing} sells out TODAY!",
    "Amazing {thing}!!! You will not believe it!",
)


def draw_thing(rng: Random) -> str:
    return f"{rng.choice(ADJECTIVES)} {rng.choice(PRODUCTS)}"


def draw_copy(rng: Random) -> tuple[str, str]:
    """(request, copy) in one of the corpus's four tones."""
    tone, brand, thing = rng.choice(sorted(OPENERS)), rng.choice(BRANDS), draw_thing(rng)
    opener = rng.choice(OPENERS[tone]).format(brand=brand, thing=thing)
    return f"Write: {brand}, {thing}, {tone}", f"{opener} {rng.choice(CLOSERS[tone])}"


def draw_voice(rng: Random, thing: str) -> tuple[str, str]:
    """(request, copy) in the fictitious brand's voice."""
    text = f"{rng.choice(VOICE_OPENERS).format(thing=thing)} {rng.choice(VOICE_CLOSERS)}"
    return f"Write: {VOICE_BRAND}, {thing}", text


def draw_preference(rng: Random, thing: str) -> tuple[str, str, str]:
    """(request, chosen copy, rejected copy): the brand's voice against loud copy about the same thing."""
    prompt, chosen = draw_voice(rng, thing)
    return prompt, chosen, rng.choice(LOUD).format(thing=thing)
