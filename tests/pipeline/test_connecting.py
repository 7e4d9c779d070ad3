"""Joining or starting Ray: what a signal and an address without an answer do. Ray itself is not started here."""

import os
import signal

import pytest
import ray

from ocrbatch.config import load
from ocrbatch.errors import InterruptedRunError, UsageError
from ocrbatch.pipeline import session
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.session import _without_handlers


@pytest.fixture
def calls(monkeypatch):
    """What is asked of Ray, which this process is not in."""
    made = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: made.append("init"))
    monkeypatch.setattr(ray, "shutdown", lambda: made.append("shutdown"))
    return made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ray_starts_ends_ray(calls, monkeypatch, number):
    def init(**_):
        os.kill(os.getpid(), number)
        calls.append("init")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(InterruptedRunError), interruptible(), session.session(load("").pipeline, "r"):
        calls.append("run")
    assert calls == ["init", "shutdown"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "ray://a..b:1"])
def test_a_cluster_that_does_not_answer_is_told_before_ray_tries(calls, address):
    config = load("", [f"pipeline.address={address}"]).pipeline
    told = pytest.raises(UsageError, match=f"can't join the Ray cluster {address}: ")
    with told as caught, session.session(config, "r"):
        calls.append("run")
    assert "head node" in caught.value.remedy
    assert calls == []


def test_ray_takes_no_signal():
    utils = ray._private.utils
    kept, before = utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), _without_handlers():
        utils.set_sigterm_handler(lambda *_: None)
        assert signal.getsignal(signal.SIGTERM) is before
        raise KeyError
    assert utils.set_sigterm_handler is kept
