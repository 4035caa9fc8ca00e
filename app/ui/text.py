"""Untrusted text on screen: names, prompts, answers, file contents.

Whole texts go through `st.text` or `st.code` (see `show_text`), which read no markup. Where a name has to
stand inside a label, a badge or a sentence, it goes through `escape`, the only such function.
"""

import re
import unicodedata

import streamlit as st

WORD_JOINER = "\u2060"
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_JOINED = re.compile(r"(:|@|www(?=\.)|-|>|<|=|~)", re.IGNORECASE)
_HIDDEN = {"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad"}


def plain(text: str, limit: int | None = None) -> str:
    """The same text with nothing that hides or reorders: control and invisible signs become ␦."""
    shown = "".join(char if _is_visible(char) else "\u2426" for char in text)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def escape(text: str, limit: int | None = 120) -> str:
    """`text` for a place that reads Markdown: it comes out letter by letter, on one line.

    A backslash takes the meaning of punctuation. The word joiner (no width) breaks what is looked for
    after that: :icon:, :color[…], www., mail addresses, arrows.
    """
    line = " ".join(plain(text, limit).split())
    joined = _JOINED.sub(lambda match: match.group(1) + WORD_JOINER, line)
    return _PUNCTUATION.sub(r"\\\1", joined)


def escape_badge(text: str, limit: int | None = 60) -> str:
    """As `escape`, for the label of a badge, which escapes square brackets itself."""
    return escape(text, limit).replace("\\[", "[").replace("\\]", "]")


def show_text(text: str, *, height: int | None = None, placeholder: str = "(empty)") -> None:
    """A text of several lines, letter by letter, with a copy button."""
    st.code(plain(text) or placeholder, language=None, wrap_lines=True, height=height or "content")


def _is_visible(char: str) -> bool:
    if char in "\n\t":
        return True
    return char not in _HIDDEN and unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
