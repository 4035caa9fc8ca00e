"""The text of single tokens, for those who ask for log-probabilities. Needs no torch."""

import threading
from collections.abc import Sequence
from pathlib import Path

from core.errors import RmnError
from core.registry.bases import base_folder
from core.serve.runtime import numbered
from core.settings import PROJECT_ROOT, Settings

TOKENIZER_FILE = "tokenizer.json"


class TokenTextsOnDemand:
    """Call it with token ids. The base's tokenizer is read once, when it is first needed.

    Half a letter of several bytes is U+FFFD, as everywhere. Where the base has no tokenizer.json on this disk, tokens
    are named by their number.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._tokenizer: object | None = None
        self._looked = False

    def __call__(self, token_ids: Sequence[int]) -> Sequence[str]:
        """One text for each token."""
        with self._lock:
            if not self._looked:
                self._looked, self._tokenizer = True, self._open()
        if self._tokenizer is None:
            return numbered(token_ids)
        return tuple(
            self._tokenizer.decode([token_id], skip_special_tokens=False)  # type: ignore[attr-defined]
            for token_id in token_ids
        )

    def _open(self) -> object | None:
        from tokenizers import Tokenizer

        try:
            folder = base_folder(self._settings.base_model, PROJECT_ROOT / "models")
        except RmnError:
            return None
        if not isinstance(folder, Path) or not (folder / TOKENIZER_FILE).is_file():
            return None
        return Tokenizer.from_file(str(folder / TOKENIZER_FILE))
