"""Results out of Ray Data in the driver's thread, and the end of its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from ocrbatch.errors import StoppedEarlyError
from ocrbatch.pipeline.drain import drained
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
