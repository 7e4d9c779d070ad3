"""The rate of a point, measured: the real pipeline reads the sample, over and over, with the point's settings.

One Ray for all probes, and new workers for each. The clock starts when every worker that reads lines is warm, its models
loaded and most of its shapes compiled, and stops after so many seconds; the run is then cut off, so that no worker
stands idle at its end within the time that counts.
Invariant: a probe leaves no worker and no file behind, whatever ends it.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.errors import OcrBatchError, StoppedEarlyError, UsageError, ending
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.build import build
from ocrbatch.pipeline.drain import drained
from ocrbatch.pipeline.patience import judged
from ocrbatch.pipeline.resources import Cluster, Pools, size_pools
from ocrbatch.pipeline.session import end_workers
from ocrbatch.records import Document
from ocrbatch.sources.selection import Work
from ocrbatch.stages.identity import Identity, identify
from ocrbatch.stages.write import Imprint, Written
from ocrbatch.storage import Storage
from ocrbatch.tuning import grid, witness
from ocrbatch.tuning.search import Infeasible, Point

SECONDS: Final = 16.0  # that count
START_SECONDS: Final = 600.0  # until every worker is warm
WARM_PAGES: Final = 8
ROWS: Final = 4096  # documents of a probe's list: more than any machine reads in its time
LOOK_AFTER: Final = 1 / 3  # of the time: who is clearly behind by then is given up
BEHIND: Final = 0.8  # of the rate to beat
MODEL_STAGES: Final = ("detect", "recognize")  # of a failure
MANY_FAILURES: Final = 50  # without a page
MEMORY: Final = "memory"  # in the message of whatever fails for want of it, a runtime's own included


@dataclass(frozen=True, slots=True)
class Trial:
    """What one probe gave. pages_per_second: None where it did not run. whole: False where it was given up.

    seconds: of the whole probe, workers' start and warming included.
    """

    settings: dict[str, Any]
    pages_per_second: float | None
    whole: bool
    reason: str
    seconds: float


class _HaltError(OcrBatchError):
    """Ends a probe from within Ray Data's loop: enough is known."""


@dataclass(slots=True)
class Prober:
    """Measures points of a grid, as `search.Measure`. config: with an output on this disk, for what the probes write.

    Raises what ends any run: UsageError, StorageError, InterruptedRunError ... A worker that dies, or can't be set up
    for want of memory, makes its point infeasible.
    """

    config: JobConfig
    identity: Identity
    cluster: Cluster
    run_id: str
    documents: Sequence[Document]
    extra: Sequence[pa.Field]
    tell: Callable[[Trial], None]
    seconds: float = SECONDS
    trials: list[Trial] = field(default_factory=list)

    def __call__(self, point: Point, incumbent: float | None) -> float | Infeasible:
        """Pages a second of a point; less than it would give in the end where it is clearly behind the incumbent."""
        before = time.monotonic()
        settings = grid.settings(point)
        config = grid.applied(self.identity.config, settings)
        folder = Path(self.config.output.uri, f"probe-{len(self.trials):03d}")
        config = grid.applied(config, {"output.uri": str(folder)})
        identity = identify(config)
        try:
            found, whole = self._probe(identity, folder, incumbent)
        finally:
            end_workers(self.run_id)
            shutil.rmtree(folder, ignore_errors=True)
        seconds = time.monotonic() - before
        dead = isinstance(found, Infeasible)
        self.trials.append(
            Trial(settings, None if dead else found, whole, found.reason if dead else "", round(seconds, 2))
        )
        self.tell(self.trials[-1])
        return found

    def _probe(self, identity: Identity, folder: Path, incumbent: float | None) -> tuple[float | Infeasible, bool]:
        config = identity.config
        pools = size_pools(self.cluster, config.pipeline, config.engine.device)
        rows = max(worklist.GROUP_ROWS, config.pipeline.page_batch)
        storage = Storage(config.output.storage)
        files = list(worklist.write(self._work(), self.extra, storage, str(folder), pools.decoders.workers, rows))
        imprint = Imprint(0, self.run_id, identity.fingerprint, tuple(identity.models), datetime.now(UTC).date())
        dataset = build(identity, pools, files, imprint, stages=witness.WITNESSED)
        watch = _Watch(folder, pools, self.seconds, incumbent)
        try:
            with judged(watch.judge), closing(drained(dataset, stops=True)) as results:
                for written in results:
                    watch.look(written)
        except _HaltError:
            pass
        except (UsageError, StoppedEarlyError) as error:
            if MEMORY not in str(error).lower():
                raise
            watch.give_up(str(error))
        return watch.verdict()

    def _work(self) -> Iterator[Work]:
        """The sample, over and over, each time in another order, or workers would always meet the same documents."""
        drawn = random.Random(0)
        rounds = (drawn.sample(self.documents, len(self.documents)) for _ in repeat(None))
        return (Work(document) for document in islice(chain.from_iterable(rounds), ROWS))


class _Watch:
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
        """For `patience.judged`, in Ray Data's own thread. Raises _HaltError as soon as a batch is lost, too."""
        if lost:
            self.give_up("a worker died")
        if self._halted:
            raise _HaltError("enough is known")
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
        self._rate = witness.rate(notes, since)
        if self._rate is None:
            return
        self._whole = now - since >= self._seconds
        behind = now - since >= LOOK_AFTER * self._seconds and self._rate < self._beaten
        self._halted = self._whole or behind

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
