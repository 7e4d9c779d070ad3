"""The end of a worker whose engine hangs: nothing else stops native code that does not return."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Ends this process, its threads' places on standard error, when the body takes longer.

    Not reentrant: a process has one such clock. It is C code that needs no lock of Python's.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
