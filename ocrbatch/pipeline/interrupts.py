"""Ctrl-C and SIGTERM as one exception in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ocrbatch.errors import InterruptedRunError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises InterruptedRunError at SIGINT and SIGTERM for the length of a `with`; does nothing in other threads."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _take(_interrupt)
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Holds the signals back for the length of a `with`, then raises InterruptedRunError where one came.

    For `ray.init`, which swallows some exceptions, breaks in others, and may leave handlers of its own. To be used in
    `interruptible`.
    """
    came: list[int] = []
    _take(lambda number, _: came.append(number))
    try:
        yield
    finally:
        _take(_interrupt)
        if came:
            _interrupt(came[0], None)


def _take(handler: Callable[[int, object], None]) -> None:
    if _in_main_thread():
        for number in SIGNALS:
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    raise InterruptedRunError(signal.Signals(number).name, number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
