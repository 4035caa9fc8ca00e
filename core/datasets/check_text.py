"""Checks of what stands in the texts: length, personal data, secrets, broken signs, boilerplate."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from core.datasets.findings import ERROR, WARNING, finding
from core.datasets.pii import find_personal_data, holds_secret
from core.datasets.records import Problem

#: Line of a row and its texts; the last one is the answer.
Texts = Sequence[tuple[int, tuple[str, ...]]]

_BROKEN = re.compile(
    "\ufffd|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|Ã[\u0080-\u00bf]|â€[\u0080-\u2122]|Â[\u00a0-\u00bf]"
)
_BOILERPLATE = re.compile(
    r"(?i)\bas an ai\b|\bas a (?:large )?language model\b|\bI(?:'m| am) sorry,? but\b"
    r"|\bI (?:cannot|can't) (?:assist|help)\b"
)


def too_many_characters(texts: Texts, most: int) -> Problem | None:
    """Examples with more than `most` characters in all."""
    return finding(
        "too_long_characters",
        WARNING,
        [line for line, parts in texts if sum(map(len, parts)) > most],
        f"1 row has more than {most:,} characters: it needs much memory. Shorten or split it.",
        f"{{rows}} rows have more than {most:,} characters: they need much memory. Shorten or split them.",
    )


def too_many_tokens(lengths: Iterable[tuple[int, int]], most: int) -> Problem | None:
    """Examples with more than `most` tokens."""
    return finding(
        "too_long_tokens",
        ERROR,
        [line for line, length in lengths if length > most],
        f"1 row is longer than {most:,} tokens. Shorten it, or allow longer examples in the configuration.",
        f"{{rows}} rows are longer than {most:,} tokens."
        " Shorten them, or allow longer examples in the configuration.",
    )


def content(texts: Texts) -> Iterator[Problem]:
    """Personal data, secrets, broken text and boilerplate, in one pass over all texts."""
    lines: dict[str, list[int]] = defaultdict(list)
    kinds: set[str] = set()
    for line, parts in texts:
        text = "\n".join(parts)
        if personal := find_personal_data(text):
            kinds |= personal
            lines["personal_data"].append(line)
        if holds_secret(text):
            lines["secrets"].append(line)
        if _BROKEN.search(text):
            lines["broken_text"].append(line)
        if _BOILERPLATE.search(parts[-1]):
            lines["boilerplate"].append(line)
    personal_kinds = ", ".join(sorted(kinds))
    for rule, one, many, cure in (
        (
            "personal_data",
            f"seems to hold personal data ({personal_kinds})",
            f"seem to hold personal data ({personal_kinds})",
            "Remove it, or put made-up data in its place.",
        ),
        (
            "secrets",
            "seems to hold a key or a token",
            "seem to hold keys or tokens",
            "Remove and revoke what is real.",
        ),
        ("broken_text", "holds broken signs", "hold broken signs", "Export the file as UTF-8 again."),
        (
            "boilerplate",
            "answers with a refusal",
            "answer with refusals of a chat assistant",
            "Remove what is not meant.",
        ),
    ):
        found = finding(rule, WARNING, lines[rule], f"1 row {one}. {cure}", f"{{rows}} rows {many}. {cure}")
        if found:
            yield found
