"""An example as the turns that a base is asked with, and how long it is in tokens. No torch."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.datasets.records import Example
from core.errors import RefusedFileError

Turn = dict[str, str]
# Marks which tokens the assistant wrote; only training libraries know the tag, and it writes nothing.
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


def prompt_turns(example: Example) -> list[Turn]:
    """The turns before the answer: the system turn and the earlier turns, where there are any, and the prompt."""
    system = [{"role": "system", "content": example.system}] if example.system else []
    earlier = [{"role": role, "content": text} for role, text in example.history]
    return [*system, *earlier, {"role": "user", "content": example.prompt}]


def answer_turns(example: Example) -> list[Turn]:
    """The turn to be learned."""
    return [{"role": "assistant", "content": example.completion}]


class TokenCounter:
    """Counts tokens of whole examples as training will see them: chat template and tokenizer of one base folder."""

    def __init__(self, base_folder: Path) -> None:
        from tokenizers import Tokenizer

        file = base_folder / "tokenizer.json"
        if not file.is_file():
            raise RefusedFileError(
                f"The base {base_folder.name} has no tokenizer.json.",
                "Without it the examples cannot be measured or trained on.",
                "Use a base that was saved with its fast tokenizer.",
            )
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._render = chat_renderer(base_folder)

    def lengths(self, examples: Sequence[Example]) -> list[tuple[int, int]]:
        """(all tokens, tokens of the answer) of each example, the template's own tokens included."""
        prompts = [self._render(prompt_turns(e), True) for e in examples]
        wholes = [self._render([*prompt_turns(e), *answer_turns(e)], False) for e in examples]
        return [
            (whole, max(1, whole - prompt))
            for whole, prompt in zip(self._count(wholes), self._count(prompts), strict=True)
        ]

    def text_length(self, text: str) -> int:
        """Tokens of a bare text."""
        return self._count([text])[0]

    def _count(self, texts: Sequence[str]) -> list[int]:
        batch = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in batch]


def chat_renderer(base_folder: Path) -> Callable[[Sequence[Turn], bool], str]:
    """A function (turns, add_generation_prompt) → text by the base's chat template, in a sandbox.

    Raises RefusedFileError when the base has no chat template or it cannot be used.
    """
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    source, special = _template_of(base_folder)
    refused = RefusedFileError(
        f"The base {base_folder.name} cannot be asked in turns.",
        "Its tokenizer has no chat template that can be used.",
        "Use an instruct model, or add chat_template.jinja to its folder.",
    )
    if source is None:
        raise refused
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _format: ""
    try:
        template = environment.from_string(GENERATION_TAG.sub("", source))
    except TemplateError:
        raise refused from None

    def render(turns: Sequence[Turn], add_generation_prompt: bool) -> str:
        try:
            return template.render(
                messages=list(turns), add_generation_prompt=add_generation_prompt, **special
            )
        except TemplateError as error:
            raise RefusedFileError(
                "The base's chat template refuses an example.", f"{error}.", "Use another base or dataset."
            ) from None

    return render


def _template_of(folder: Path) -> tuple[str | None, dict[str, Any]]:
    config: dict[str, Any] = {}
    if (file := folder / "tokenizer_config.json").is_file():
        config = json.loads(file.read_text("utf-8"))
    source = config.get("chat_template")
    if (file := folder / "chat_template.jinja").is_file():
        source = file.read_text("utf-8")
    special = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(name)
        special[name] = value.get("content", "") if isinstance(value, dict) else (value or "")
    return (source if isinstance(source, str) else None), special


def _raise(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)
