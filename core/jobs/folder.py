"""The folder of a job: its lock, the fence of the attempt that runs here, its log."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.storage.files import write_atomically

LOG_TAIL_BYTES = 8192
LOG_LIMIT_BYTES = 20 << 20
LOG_KEPT_BYTES = 5 << 20
LAST_LINE_LETTERS = 200


class JobFolder:
    """`<jobs folder>/<job id>`. Checkpoints of the run live beside what is named here."""

    def __init__(self, jobs_dir: Path, job_id: str) -> None:
        self.path = jobs_dir / job_id
        self.log_path = self.path / "log.txt"
        self._lock_path = self.path / "lock"
        self._fence_path = self.path / "fence"

    @contextmanager
    def locked(self, *, tries: int = 5) -> Iterator[int | None]:
        """Hold the job on this machine: gives the lock's file descriptor, or None when another process has it.

        A child that inherits the descriptor holds the lock too. The kernel lets go when the last holder is gone,
        however it went, so a free lock says that no process of a former attempt is left here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # More than once, because `is_held` of another process holds it for an instant.
            yield descriptor if any(_lock(descriptor, number) for number in range(tries)) else None
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether a process on this machine holds the job now."""
        if not self._lock_path.exists():
            return False
        with self.locked(tries=1) as descriptor:
            return descriptor is None

    def note_fence(self, fence: str) -> None:
        """Remember that this attempt runs here."""
        write_atomically(self._fence_path, fence.encode())

    def noted_fence(self) -> str | None:
        """The fence of the last attempt that ran here."""
        try:
            return self._fence_path.read_text()
        except FileNotFoundError:
            return None

    def cut_log(self, limit: int = LOG_LIMIT_BYTES, kept: int = LOG_KEPT_BYTES) -> bool:
        """Keep only the end of a log that has grown beyond `limit` bytes. True: it was cut.

        Its writer has it open and appends; so the file stays the same one and is emptied. What the writer adds in
        between is lost, no more than that.
        """
        try:
            with self.log_path.open("r+b") as log:
                size = log.seek(0, os.SEEK_END)
                if size <= limit:
                    return False
                log.seek(size - kept)
                tail = log.read(kept).partition(b"\n")[2]
                log.truncate(0)
        except FileNotFoundError:
            return False
        with self.log_path.open("ab") as log:
            log.write(f"--- cut: {size - len(tail):,} bytes before this\n".encode() + tail)
        return True

    def last_log_line(self) -> str:
        """The last line of the log that says something, shortened."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                tail = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        lines = ["".join(c for c in line if c.isprintable()).strip() for line in tail.splitlines()]
        last = next((line for line in reversed(lines) if line and not line.startswith("---")), "")
        return last if len(last) <= LAST_LINE_LETTERS else last[: LAST_LINE_LETTERS - 1] + "…"


def _lock(descriptor: int, tried: int) -> bool:
    time.sleep(0.05 * min(tried, 1))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
