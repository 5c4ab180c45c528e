"""What NVIDIA's own management library tells of the GPUs: no torch, no process, no dependency."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_UUID_BYTES = 96
_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
# Without one of these there is no driver, and ctypes (2 ms) need not be imported to find that out.
_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


class Gpu(NamedTuple):
    """One GPU that this process may use.

    Attributes:
        number: for the driver, which `nvidia-smi` shows.
        busy: share of the last second or so in which a kernel ran, from 0 to 1.
        memory_used_bytes: by all processes.
    """

    number: int
    name: str
    memory_bytes: int
    memory_used_bytes: int = 0
    busy: float = 0.0
    uuid: str = ""


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
        found = next((gpu for gpu in gpus if word == str(gpu.number) or (word and gpu.uuid.startswith(word))), None)
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


@cache
def _library() -> Any:
    """Load and initialise the library once for the process; None where there is no driver, or it refuses."""
    if sys.platform == "linux" and not any(Path(device).exists() for device in _DEVICES):
        return None
    import ctypes

    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _all_gpus(library: Any) -> list[Gpu]:
    import ctypes

    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found = (_gpu(library, index) for index in range(count.value))
    return [gpu for gpu in found if gpu is not None]


def _gpu(library: Any, index: int) -> Gpu | None:
    import ctypes

    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        return None
    name, uuid = ctypes.create_string_buffer(_NAME_BYTES), ctypes.create_string_buffer(_UUID_BYTES)
    memory = (ctypes.c_ulonglong * 3)()  # total, free, used
    utilisation = (ctypes.c_uint * 2)()  # of the GPU, of its memory; percent
    library.nvmlDeviceGetName(handle, name, _NAME_BYTES)
    library.nvmlDeviceGetUUID(handle, uuid, _UUID_BYTES)
    library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    # A slice of a GPU (MIG) has no utilisation: the call refuses and the zeros stay.
    library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilisation))
    return Gpu(index, name.value.decode(), memory[0], memory[2], round(utilisation[0] / 100, 2), uuid.value.decode())
