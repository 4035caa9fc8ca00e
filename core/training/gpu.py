"""Whether there is a GPU for training, and how much of its memory is free, asked without torch."""

import shutil
import subprocess


def gpu_free_bytes(device: str) -> int | None:
    """Free bytes of the GPU that `device` (auto, cpu, cuda, cuda:N) means; None where training uses the CPU."""
    kind, _, index = device.partition(":")
    program = shutil.which("nvidia-smi")
    if kind == "cpu" or program is None:
        return None
    query = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={index or '0'}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return int(answer.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
