"""Signals become one exception, with the exit code that shells expect."""

import os
import signal
import sys
import weakref

import pytest

from ocrbatch.errors import InterruptedRunError
from ocrbatch.pipeline.interrupts import held, insist, interruptible


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_are_raised_and_handlers_put_back(number, code):
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError) as caught, interruptible():
        os.kill(os.getpid(), number)
        signal.pause()
    assert caught.value.exit_code == code
    assert "same command" in caught.value.remedy
    assert signal.getsignal(number) is before


def test_a_signal_that_python_swallows_is_raised_again(monkeypatch):
    class Thing:
        """What can be referred to weakly."""

    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", swallowed.append)
    with pytest.raises(InterruptedRunError), interruptible():
        insist()
        thing = Thing()
        _reference = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGTERM), signal.getsignal(1)))
        del thing
        assert len(swallowed) == 1, "here it was lost"
        insist()
    with interruptible():
        insist()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_held_is_raised_afterwards(number):
    past = []
    with pytest.raises(InterruptedRunError) as caught, interruptible():
        with held():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            past.append("the signals")
        past.append("the end")
    assert past == ["the signals"]
    assert caught.value.exit_code == 128 + number, "the first one counts"


def test_a_closed_terminal_matters_to_nobody_under_nohup_nor_to_what_is_started_while_signals_are_held():
    with interruptible(), held():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            with held():
                pass
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_is_held_goes_before_an_error():
    with pytest.raises(InterruptedRunError), interruptible(), held():
        os.kill(os.getpid(), signal.SIGINT)
        raise ConnectionError


def test_signals_interrupt_again_after_they_were_held():
    with pytest.raises(InterruptedRunError), interruptible():
        with held():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as what runs in there may leave it
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()


def test_a_signal_that_is_held_is_answered_at_once_on_the_screen(capfd):
    with pytest.raises(InterruptedRunError), interruptible(), held():
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # as while Ray starts
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err.count("as soon as Ray has started") == 1
        os.dup2(kept, 2)


def test_a_signal_that_is_held_is_kept_where_the_screen_is_gone():
    read, write = os.pipe()
    kept = os.dup(2)
    os.dup2(write, 2)
    os.close(write)
    os.close(read)
    past = []
    try:
        with pytest.raises(InterruptedRunError), interruptible(), held():
            os.kill(os.getpid(), signal.SIGTERM)
            past.append("the signal")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert past == ["the signal"]
