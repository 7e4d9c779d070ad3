"""Ctrl-C and SIGTERM as one exception in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ocrbatch.errors import InterruptedRunError


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises InterruptedRunError at SIGINT and SIGTERM for the length of a `with`; does nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: object) -> None:
        raise InterruptedRunError(signal.Signals(number).name, number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
