"""What a probe has given so far, and whether that is enough.

Invariant: a point whose worker died, or whose page failed for want of memory, has no rate, however fast it was before.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from ocrbatch.errors import OcrBatchError, UsageError, ending
from ocrbatch.pipeline.resources import Pools
from ocrbatch.stages.spans import Span
from ocrbatch.stages.write import Written
from ocrbatch.tuning.rates import rate, warm_since
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

    def __init__(self, pools: Pools, seconds: float, incumbent: float | None) -> None:
        found = {"read": pools.readers, "detect": pools.detectors, "recognize": pools.recognizers}
        self._pools = {name: pool.workers for name, pool in found.items() if pool}
        self._last = "read" if pools.readers else "recognize"  # after which a page's lines are known
        self._spans: dict[str, dict[str, list[Span]]] = {name: defaultdict(list) for name in self._pools}
        self._seconds = seconds
        self._beaten = BEHIND * incumbent if incumbent else 0.0
        self._begun = time.time()
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
        if any(len(self._spans[name]) > count for name, count in self._pools.items()):
            return self.give_up("a worker died")  # and was started anew
        workers, now = list(self._spans[self._last].values()), time.time()
        since = warm_since(workers, self._pools[self._last], WARM_PAGES)
        if since is None:
            if now - self._begun > START_SECONDS:
                self.give_up(f"not every worker had finished {WARM_PAGES} pages after {START_SECONDS:g} s")
            return
        # The slower of two stages: the other one fills, or empties, what waits between them, and that ends.
        rates = [rate(list(stage.values()), since) for stage in self._spans.values()]
        self._rate = min((found for found in rates if found is not None), default=None)
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

    def _sort(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if span.stage in self._spans:
                insort(self._spans[span.stage][span.worker], span, key=lambda other: other.end)

    def _count(self, written: Written) -> None:
        self._sort(written.spans)
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
