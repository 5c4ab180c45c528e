"""What NVIDIA's own management library tells of the GPUs: no torch, no process, no dependency."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_UUID_BYTES = 96
_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that this process may use.

    Attributes:
        index: its number for the driver, which `nvidia-smi` shows.
        busy: share of the last second or so in which a kernel ran, from 0 to 1.
        memory_used_bytes: by all processes.
    """

    index: int
    name: str
    memory_bytes: int
    memory_used_bytes: int = 0
    busy: float = 0.0
    uuid: str = ""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def look_at_gpus(visible: str | None = None) -> tuple[Gpu, ...]:
    """Return the GPUs of this machine that CUDA would show this process; none where the driver is not there.

    Args:
        visible: instead of the environment's CUDA_VISIBLE_DEVICES: numbers or UUIDs, with commas.
    """
    library = _library()
    if library is None:
        return ()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    return visible_gpus(_all_gpus(library), shown)


def visible_gpus(gpus: Sequence[Gpu], shown: str | None) -> tuple[Gpu, ...]:
    """Choose as CUDA does: the first entry that names no GPU ends the list."""
    if shown is None:
        return tuple(gpus)
    chosen: list[Gpu] = []
    for word in (part.strip() for part in shown.split(",")):
        found = next((gpu for gpu in gpus if word == str(gpu.index) or (word and gpu.uuid.startswith(word))), None)
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


@cache
def _library() -> Any:
    """Load and initialise the library once for the process; None where there is no driver, or it refuses."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _all_gpus(library: Any) -> list[Gpu]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found = (_gpu(library, index) for index in range(count.value))
    return [gpu for gpu in found if gpu is not None]


def _gpu(library: Any, index: int) -> Gpu | None:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        return None
    name, uuid = ctypes.create_string_buffer(_NAME_BYTES), ctypes.create_string_buffer(_UUID_BYTES)
    memory, utilisation = _Memory(), _Utilisation()
    library.nvmlDeviceGetName(handle, name, _NAME_BYTES)
    library.nvmlDeviceGetUUID(handle, uuid, _UUID_BYTES)
    library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    # A slice of a GPU (MIG) has no utilisation: the call refuses and the zeros stay.
    library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilisation))
    return Gpu(
        index, name.value.decode(), memory.total, memory.used, round(utilisation.gpu / 100, 2), uuid.value.decode()
    )
