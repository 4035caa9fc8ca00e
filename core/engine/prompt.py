"""From messages to token ids, and from token ids to text."""

import copy
import re
import threading
from collections.abc import Sequence
from typing import Any

from core.engine.records import Message
from core.errors import InvalidInputError

CHARACTERS_PER_TOKEN = (
    64  # more than the longest tokens have on average; a quick bound before anything is encoded
)

# Private-use characters stand for a marker that somebody wrote into a message while the template is applied.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_HIDDEN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class Prompter:
    """A tokenizer that may be asked from any thread. Long prompts never hold up the decoding of answers."""

    def __init__(self, tokenizer: Any, vocabulary_size: int, context_length: int) -> None:
        self._tokenizer, self._lock = tokenizer, threading.Lock()
        self._decoder, self._decoder_lock = copy.deepcopy(tokenizer), threading.Lock()
        self._vocabulary_size = vocabulary_size
        self._max_characters = context_length * CHARACTERS_PER_TOKEN
        markers = {str(token) for token in tokenizer.all_special_tokens}
        markers |= {t.content for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if t.special}
        longest_first = sorted(filter(None, markers), key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt, ready for the answer to follow.

        The base's chat template is applied; without one the contents are joined by newlines. A marker such as
        `<|im_end|>` inside a message is text: it never ends a turn. Raises InvalidInputError.
        """
        if not messages or not any(message.content for message in messages):
            raise InvalidInputError(
                "There is nothing to answer.", "All messages are empty.", "Write a prompt."
            )
        characters = sum(len(message.content) for message in messages)
        if characters > self._max_characters:
            raise InvalidInputError(
                "The prompt is too long for this base.",
                f"It has {characters:,} characters; {self._max_characters:,} could never fit.",
                "Shorten the prompt.",
            )
        found: list[str] = []
        safe = [Message(m.role, self._hide_markers(m.content, found)) for m in messages]
        with self._lock:
            text = self._apply_template(safe)
            ids = self._encode_text(text, found)
        if not ids or max(ids) >= self._vocabulary_size:
            raise InvalidInputError("The prompt cannot be read by this base.", "", "Write it in other words.")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer; turn markers are left out."""
        with self._decoder_lock:
            text = self._decoder.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _hide_markers(self, content: str, found: list[str]) -> str:
        def hide(match: re.Match[str]) -> str:
            found.append(match[0])
            return f"{_OPEN}{len(found) - 1}{_CLOSE}"

        plain = content.replace(_OPEN, "\ufffd").replace(_CLOSE, "\ufffd")
        return self._markers.sub(hide, plain)

    def _apply_template(self, messages: Sequence[Message]) -> str:
        if not getattr(self._tokenizer, "chat_template", None):
            return "\n".join(message.content for message in messages)
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # noqa: BLE001 - the template is a program of the base; it may raise anything
            raise InvalidInputError(
                "The base's chat template does not accept these messages.",
                f"{str(error)[:300]}.",
                "Alternate user and assistant messages and end with one by the user.",
            ) from None

    def _encode_text(self, text: str, found: Sequence[str]) -> list[int]:
        has_template = bool(getattr(self._tokenizer, "chat_template", None))
        if not found:
            return list(self._tokenizer.encode(text, add_special_tokens=not has_template))
        ids: list[int] = [] if has_template else list(self._tokenizer.encode(""))
        for number, piece in enumerate(_HIDDEN.split(text)):
            if number % 2:
                ids += self._tokenizer.encode(
                    found[int(piece)], add_special_tokens=False, split_special_tokens=True
                )
            elif piece:
                ids += self._tokenizer.encode(piece, add_special_tokens=False)
        return ids
