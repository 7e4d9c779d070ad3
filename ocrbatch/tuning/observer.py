"""What a probe has given so far, and whether that is enough.

Invariant: a point whose worker died, or whose page failed for want of memory, has no rate, however fast it was before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from ocrbatch.errors import OcrBatchError, UsageError, ending
from ocrbatch.pipeline.resources import Pools
from ocrbatch.stages.write import Written
from ocrbatch.tuning import witness
from ocrbatch.tuning.search import Infeasible

START_SECONDS: Final = 600.0  # until every worker is warm
WARM_PAGES: Final = 8  # of each worker: of receipts, its batches after these take as long as all later ones
LOOK_AFTER: Final = 1 / 3  # of the time: who is clearly behind by then is given up
BEHIND: Final = 0.8  # of the rate to beat
MODEL_STAGES: Final = ("detect", "recognize")  # of a failure
MANY_FAILURES: Final = 50  # without a page
MEMORY: Final = "memory"  # in the message of whatever fails for want of it, a runtime's own included


class Halted(OcrBatchError):  # noqa: N818  # not an error: enough is known
    """Ends a probe from within Ray Data's loop."""


class Observer:
    """What a probe has given so far, and whether that is enough."""

    def __init__(self, folder: Path, pools: Pools, seconds: float, incumbent: float | None) -> None:
        last, others = pools.readers or pools.recognizers, pools.detectors
        assert last, "each layout has a pool that reads lines"
        self._folder = folder
        self._last = last.workers
        self._workers = last.workers + (others.workers if others else 0)
        self._seconds = seconds
        self._beaten = BEHIND * incumbent if incumbent else 0.0
        self._begun = time.monotonic()
        self._rate: float | None = None
        self._whole = True
        self._reason = ""
        self._halted = False
        self._pages = 0
        self._failures: list[dict[str, Any]] = []

    def judge(self, lost: int) -> bool:
        """For `patience.judged`, in Ray Data's own thread. Raises Halted as soon as a batch is lost, too."""
        if lost:
            self.give_up("a worker died")
        if self._halted:
            raise Halted("enough is known")
        return False

    def give_up(self, reason: str) -> None:
        """The point does not run."""
        self._reason, self._halted = reason, True

    def look(self, written: Written | None) -> None:
        """Takes a result, if there is one, and ends the probe once it has told enough."""
        if written is not None:
            self._count(written)
        if self._halted:
            return
        if witness.started(self._folder) > self._workers:
            return self.give_up("a worker died")
        notes, now = witness.notes(self._folder), time.monotonic()
        since = witness.warm_since(notes, self._last, WARM_PAGES)
        if since is None:
            if now - self._begun > START_SECONDS:
                self.give_up(f"not every worker had finished {WARM_PAGES} pages after {START_SECONDS:g} s")
            return
        # The slower of two stages: the other one fills, or empties, what waits between them, and that ends.
        stages = [notes, witness.notes(self._folder, witness.BEFORE)]
        rates = [witness.rate(workers, since) for workers in stages if workers]
        self._rate = min((rate for rate in rates if rate is not None), default=None)
        if self._rate is None or None in rates:
            return
        done = now - since >= self._seconds
        behind = now - since >= LOOK_AFTER * self._seconds and self._rate < self._beaten
        if done or behind:
            self._whole, self._halted = done, True

    def verdict(self) -> tuple[float | Infeasible, bool]:
        """The rate and whether it was measured to the end. Raises UsageError where the sample has no page."""
        if self._reason:
            return Infeasible(self._reason), False
        if self._rate is None:
            raise UsageError(
                "the sample ended before every worker was warm", "Take a larger sample, or documents with more pages."
            )
        return self._rate, self._whole

    def _count(self, written: Written) -> None:
        if written.stop:
            message, remedy, exit_code = written.stop
            raise ending(exit_code)(message, remedy)
        self._pages += written.pages
        self._failures += written.failures
        for failure in written.failures:
            if failure["stage"] in MODEL_STAGES and MEMORY in failure["message"].lower():
                self.give_up(failure["message"])
        if not self._pages and len(self._failures) > MANY_FAILURES:
            first = self._failures[0]
            raise UsageError(f"no page of the sample can be read ({first['uri']}: {first['message']})", first["remedy"])
