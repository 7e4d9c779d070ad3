"""Results out of Ray Data in the driver's thread, and the end of its threads."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest
from waiting import until

from ocrbatch.errors import StoppedEarlyError
from ocrbatch.pipeline import drain
from ocrbatch.pipeline.drain import _wait_for, drained
from ocrbatch.stages.write import Written


class Results:
    """A Dataset that leaves threads behind, as Ray Data does, for so many seconds. ends: how."""

    def __init__(self, ends: BaseException | None = None, **seconds: float) -> None:
        self._left = [
            threading.Thread(target=time.sleep, args=(each,), name=name, daemon=True) for name, each in seconds.items()
        ]
        self._ends = ends

    def iter_batches(self, **_: object) -> Iterator[pa.Table]:
        for thread in self._left:
            thread.start()
        yield Written(pages=1).encode()
        if self._ends:
            raise self._ends

    @property
    def at_work(self) -> list[str]:
        return [thread.name for thread in self._left if thread.is_alive()]


def test_its_threads_end_before_the_last_result_is_told() -> None:
    results = Results(one=0.5, Prefetcher=60, another=0.3)
    assert [written.pages for written in drained(results, stops=False) if written] == [1]  # type: ignore[arg-type]
    assert results.at_work == ["Prefetcher"], "which would be waited for in vain"


def test_its_threads_end_before_its_error_is_told() -> None:
    results = Results(ValueError("all broken"), one=0.5)
    told = drained(results, stops=False)  # type: ignore[arg-type]
    assert next(told) == Written(pages=1)
    with pytest.raises(StoppedEarlyError, match="the Ray job failed: ValueError: all broken"):
        list(told)
    assert results.at_work == []


def test_a_thread_that_is_only_being_started_is_waited_for() -> None:
    thread = threading.Thread(target=time.sleep, args=(0.3,), daemon=True)
    threading.Timer(0.2, thread.start).start()
    _wait_for([thread])
    assert thread.ident and not thread.is_alive()


def test_a_thread_that_never_starts_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "END_SECONDS", 0.1)
    _wait_for([threading.Thread()])


def test_this_thread_and_those_that_python_did_not_start_are_not_waited_for() -> None:
    seen: list[threading.Thread] = []
    go_on = threading.Event()

    def foreign() -> None:
        seen.append(threading.current_thread())
        go_on.wait(30)

    _thread.start_new_thread(foreign, ())
    until(lambda: seen)
    started = time.monotonic()
    _wait_for([threading.current_thread(), *seen])
    assert time.monotonic() - started < drain.END_SECONDS / 2
    go_on.set()
