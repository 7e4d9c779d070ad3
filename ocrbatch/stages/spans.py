"""Where a stage's time goes: a span for each batch, which travels with it to the driver.

A worker that waits is starved while the stage before has not done its next batch, and held up from then on: what comes
after it is full, or Ray has not handed the batch over. Times are seconds since the epoch, of each node's own clock, so
between nodes starved and held up are as exact as their clocks agree; busy is exact.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from ocrbatch.recognition.recognizer import Fill


@dataclass(frozen=True, slots=True)
class Span:
    """One batch in the hands of one worker.

    since: when the worker had done its batch before; at its first, `start`. ready: when the stage before had done this
    one. useful, total: see `Fill`, of the lines that went through the recognition model.
    """

    stage: str
    worker: str
    since: float
    ready: float
    start: float
    end: float
    pages: int
    useful: int = 0
    total: int = 0

    @property
    def busy(self) -> float:
        """Seconds of work."""
        return self.end - self.start

    @property
    def starved(self) -> float:
        """Seconds before it in which there was nothing to do."""
        return min(max(0.0, self.ready - self.since), self.start - self.since)

    @property
    def held_up(self) -> float:
        """Seconds before it in which the batch was there and the worker free."""
        return self.start - self.since - self.starved

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**tree)


class Stopwatch:
    """A worker's, which takes the time of one batch after the other."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._start = 0.0
        self._since = 0.0

    def start(self) -> None:
        """The worker has a batch in its hands, or, where there is none before it, begins to make one."""
        self._start = time.time()

    def stop(self, before: Sequence[Span], pages: int, fill: Fill | None = None) -> Span:
        """The worker has done the batch. before: its spans so far; none for the first stage, which never starves."""
        end = max(time.time(), self._start)  # a wall clock may be set back
        since = min(self._since or self._start, self._start)
        ready = max((span.end for span in before), default=since)
        fill = fill or Fill()
        self._since = end
        return Span(self._stage, self._worker, since, ready, self._start, end, pages, fill.useful, fill.total)
