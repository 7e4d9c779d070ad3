"""Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) as one exception in the main thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ocrbatch.errors import InterruptedRunError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came: Final[list[int]] = []  # the signals within the present `interruptible`


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises InterruptedRunError at SIGNALS for the length of a `with`; does nothing in other threads.

    SIGHUP stays ignored where it is, as by nohup.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _take(_interrupt)
    try:
        yield
    finally:
        _came.clear()
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Holds the signals back for the length of a `with`, then raises InterruptedRunError where one came.

    For `ray.init`, which swallows some exceptions, breaks in others, and may leave handlers of its own. SIGHUP is
    ignored meanwhile: Ray's processes inherit that, for a closed terminal tells them, too, and without them nothing
    could be committed any more. To be used in `interruptible`.
    """
    came: list[int] = []
    screen = os.dup(2)  # what it is now: `ray.init` is muted

    def hold(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 1:
            with suppress(OSError):  # nobody reads it any more
                os.write(screen, b"\nStopping    as soon as Ray has started, which can't be cut short\n")

    hangup = signal.getsignal(signal.SIGHUP)
    _take(hold)
    if _in_main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        if _in_main_thread():
            signal.signal(signal.SIGHUP, hangup)
        _take(_interrupt)
        os.close(screen)
        if came:
            _interrupt(came[0], None)


def _take(handler: Callable[[int, object], None]) -> None:
    if _in_main_thread():
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


def insist() -> None:
    """Raises InterruptedRunError where a signal came and was swallowed: by Python within the callback of a weak
    reference or a finalizer, wherever the signal happened to meet one. For a loop that should have ended by it.
    """
    if _came and _in_main_thread():
        _interrupt(_came[0], None)


def _interrupt(number: int, _: object) -> None:
    _came.append(number)
    raise InterruptedRunError(signal.Signals(number).name, number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
