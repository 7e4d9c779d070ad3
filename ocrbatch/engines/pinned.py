"""Arrays in memory that a GPU copies from and to directly, without the driver's own buffer in between.

Invariant: an array is good for its length of life with or without a driver; without one it is plain memory.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import weakref
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

log = logging.getLogger(__name__)

DRIVER: Final = "libcuda.so.1"
PORTABLE: Final = 1  # CU_MEMHOSTREGISTER_PORTABLE: for every context of the process, a runtime's own too


class Driver:
    """The CUDA driver, with the context of the first GPU that runtimes share. Raises OSError where there is none."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(DRIVER)
        device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)

    def register(self, address: int, size: int) -> None:
        """Pins so many bytes. Raises OSError where the driver won't."""
        self._within("cuMemHostRegister_v2", ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_uint(PORTABLE))

    def unregister(self, address: int) -> None:
        """Lets them go."""
        self._within("cuMemHostUnregister", ctypes.c_void_p(address))

    def _within(self, name: str, *arguments: Any) -> None:
        before = ctypes.c_void_p()
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            self._call(name, *arguments)
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(before))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise OSError(f"{name} of {DRIVER} failed with {code}")


@cache
def driver() -> Driver | None:
    """The driver of this process; None without a GPU."""
    try:
        return Driver()
    except OSError as error:
        log.info("memory is not pinned: %s", error)
        return None


def pinned(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros, pinned where there is a GPU, as long as it or a view of it lives."""
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    whole = np.frombuffer(mmap.mmap(-1, max(1, size)), np.uint8, size)  # pages of its own, which no other array shares
    owner, address = driver(), whole.ctypes.data
    if owner is not None:
        try:
            owner.register(address, size)
        except OSError as error:
            log.info("memory is not pinned: %s", error)
        else:  # once no view holds it any more, and before its pages go
            weakref.finalize(whole, owner.unregister, address).atexit = False
    return whole.view(kind).reshape(shape)
