"""Which API keys were seen lately, so that most requests need not write when their key was last used."""

import threading
from datetime import datetime

from core.tenants.credentials import fingerprint
from core.tenants.service import KEY_USE_NOTED_EVERY

MOST_KEYS = 10_000


class KeyUses:
    """Safe from any thread. Holds hashes, never secrets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, datetime] = {}

    def is_due(self, secret: str, now: datetime) -> bool:
        """Whether the use of this key has to be written down now."""
        with self._lock:
            noted = self._noted.get(fingerprint(secret))
        return noted is None or not noted <= now < noted + KEY_USE_NOTED_EVERY

    def note(self, secret: str, now: datetime) -> None:
        """It was written down."""
        with self._lock:
            if len(self._noted) >= MOST_KEYS:
                self._noted.clear()
            self._noted[fingerprint(secret)] = now
