"""What the processor says of itself, without torch: the estimate must not load it."""

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
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
