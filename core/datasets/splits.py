"""A set that names no splits gets them from its prompts, the same ones every time."""

import hashlib

from core.datasets.records import Split

TRAIN_SHARE = 0.8
VALIDATION_SHARE = 0.1


def same_prompt(prompt: str) -> str:
    """What two prompts must share to count as the same one: case and white space do not matter."""
    return " ".join(prompt.casefold().split())


def split_of_prompt(prompt: str) -> Split:
    """80 % train, 10 % validation, 10 % test by a hash of the prompt, so that equal prompts stay together."""
    digest = hashlib.sha256(same_prompt(prompt).encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < TRAIN_SHARE:
        return Split.TRAIN
    return Split.VALIDATION if place < TRAIN_SHARE + VALIDATION_SHARE else Split.TEST
