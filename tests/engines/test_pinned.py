"""Memory for a GPU: plain without one; pinned for as long as anything holds it, and let go before its pages are."""

import ctypes

import numpy as np
import pytest

from ocrbatch.engines import pinned as module
from ocrbatch.engines.pinned import Driver, pinned


class Pins:
    """A driver that remembers."""

    def __init__(self, code=0):
        self.held = {}
        self.code = code

    def register(self, address, size):
        if self.code:
            raise OSError("it said no")
        self.held[address] = size

    def unregister(self, address):
        ctypes.string_at(address, self.held.pop(address))  # still mapped, or this process ends


@pytest.fixture
def pins(monkeypatch):
    found = Pins()
    monkeypatch.setattr(module, "driver", lambda: found)
    return found


@pytest.mark.parametrize(("shape", "dtype"), [((3, 4, 5, 3), np.uint8), ((2, 7, 1), np.int32), ((0, 4), np.float32)])
def test_without_a_gpu_it_is_plain_memory(monkeypatch, shape, dtype):
    monkeypatch.setattr(module, "driver", lambda: None)
    found = pinned(shape, dtype)
    assert (found.shape, found.dtype) == (shape, dtype)
    assert found.flags.c_contiguous and found.flags.writeable and not found.any()
    found[:] = 1
    assert (found == 1).all()


def test_it_is_pinned_as_long_as_a_view_of_it_lives(pins):
    found = pinned((5, 1000), np.float32)
    assert pins.held == {found.ctypes.data: 20_000}
    view = found[3:]
    del found
    assert len(pins.held) == 1
    view[:] = 7
    del view
    assert not pins.held


def test_what_the_driver_refuses_is_plain_memory(pins):
    pins.code = 1
    found = pinned((8,), np.int32)
    found[:] = 3
    del found
    assert not pins.held


def test_a_machine_without_the_driver_has_none(monkeypatch):
    monkeypatch.setattr(module, "DRIVER", "libcuda-that-is-not-there.so.1")
    with pytest.raises(OSError, match="not-there"):
        Driver()
    module.driver.cache_clear()
    assert module.driver() is None
    module.driver.cache_clear()


def test_a_call_that_fails_is_an_error_that_names_it(monkeypatch):
    class Library:
        def __getattr__(self, name):
            return lambda *_: 100 if name == "cuDeviceGet" else 0

    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: Library())
    with pytest.raises(OSError, match=r"cuDeviceGet .* failed with 100"):
        Driver()


def test_pinning_happens_in_the_context_that_runtimes_share(monkeypatch):
    """Each call between a push and a pop of that context, also where it fails."""
    called = []

    class Library:
        def __getattr__(self, name):
            return lambda *_: called.append(name) or (1 if name == "cuMemHostUnregister" else 0)

    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: Library())
    driver = Driver()
    driver.register(4096, 10)
    with pytest.raises(OSError, match="cuMemHostUnregister"):
        driver.unregister(4096)
    pushed, popped = "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"
    assert called[3:] == [pushed, "cuMemHostRegister_v2", popped, pushed, "cuMemHostUnregister", popped]
