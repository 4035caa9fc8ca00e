"""GPUs as NVIDIA's management library (NVML) tells of them: the one that comes with the driver, no package needed.

Source: NVML API Reference, device queries; the structures below are nvmlMemory_t and nvmlUtilization_t.
"""

import ctypes
from typing import Any

from core.analytics.health_records import GpuHealth

LIBRARY = "libnvidia-ml.so.1"
NO_DRIVER = "There is no GPU that can be asked: this machine has no NVIDIA driver. Answers run on the CPU."
NO_GPU = "There is no GPU: the NVIDIA driver finds none. Answers run on the CPU."
_OK = 0
_CORE_TEMPERATURE = 0
_NAME_BYTES = 96


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def read_gpus(library: str = LIBRARY) -> tuple[tuple[GpuHealth, ...], str]:
    """All GPUs of this machine, and in words why there are none; empty words where there are some."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return (), NO_DRIVER
    code = nvml.nvmlInit_v2()
    if code != _OK:
        return (), f"The GPUs cannot be asked: NVML answers {code}."
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _OK or count.value == 0:
            return (), NO_GPU
        found = [gpu for index in range(count.value) if (gpu := _gpu(nvml, index)) is not None]
    finally:
        nvml.nvmlShutdown()
    return tuple(found), "" if found else "The GPUs of this machine cannot be asked."


def _gpu(nvml: Any, index: int) -> GpuHealth | None:
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != _OK:
        return None
    memory, use = _Memory(), _Utilisation()
    if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != _OK or memory.total == 0:
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    named = nvml.nvmlDeviceGetName(device, name, _NAME_BYTES) == _OK
    heat, power = ctypes.c_uint(), ctypes.c_uint()
    used = nvml.nvmlDeviceGetUtilizationRates(device, ctypes.byref(use)) == _OK
    felt = nvml.nvmlDeviceGetTemperature(device, _CORE_TEMPERATURE, ctypes.byref(heat)) == _OK
    weighed = nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(power)) == _OK
    return GpuHealth(
        index=index,
        name=name.value.decode("utf-8", "replace") if named else "GPU",
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        utilisation=use.gpu / 100 if used else None,
        temperature_c=int(heat.value) if felt else None,
        power_w=power.value / 1000 if weighed else None,
    )
