"""Ctrl-C and SIGTERM as one exception in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ocrbatch.errors import InterruptedRunError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises InterruptedRunError at SIGINT and SIGTERM for the length of a `with`; does nothing in other threads."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    catch()
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def catch() -> None:
    """Takes the signals, also from a library that took them meanwhile: `ray.init` installs handlers of its own."""
    if _in_main_thread():
        for number in SIGNALS:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    raise InterruptedRunError(signal.Signals(number).name, number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
