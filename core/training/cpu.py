"""What the processor says of itself, without torch: the estimate must not load it."""

import os
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
SMALL_BASE = 20_000_000  # parameters
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_tile"})


def cpu_has_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the CPU multiplies in bfloat16, by the flags that Linux tells; False where nothing is told.

    The run itself asks torch (core.training.bfloat16), which means the same flags.
    """
    try:
        text = cpu_info.read_text("utf-8", "replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not BFLOAT16_FLAGS.isdisjoint(flags.partition(":")[2].split())


def training_threads(asked: int, parameters: int | None, *, fast_bfloat16: bool | None = None) -> int:
    """Threads of a run on the CPU. `asked`: what the settings say, 0 for what is best.

    On processors that multiply in bfloat16 the products of a small base take microseconds, less than a second thread
    needs to wake up: with a base of 3 million parameters a step took 207 ms with one thread and 275 ms with two.
    """
    cores = max(1, os.cpu_count() or 1)
    fast = cpu_has_bfloat16() if fast_bfloat16 is None else fast_bfloat16
    small = parameters is not None and parameters <= SMALL_BASE
    return asked or (1 if small and fast else cores)
