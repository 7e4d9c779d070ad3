"""Signals become one exception, with the exit code that shells expect."""

import os
import signal

import pytest

from ocrbatch.errors import InterruptedRunError
from ocrbatch.pipeline.interrupts import interruptible


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_are_raised_and_handlers_put_back(number, code):
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError) as caught, interruptible():
        os.kill(os.getpid(), number)
        signal.pause()
    assert caught.value.exit_code == code
    assert "same command" in caught.value.remedy
    assert signal.getsignal(number) is before
