"""The rate of a point, measured: the real pipeline reads the sample, over and over, with the point's settings.

One Ray for all probes, and new workers for each. The clock starts when every worker that reads lines is warm, its
models loaded and most of its shapes compiled, and stops after so many seconds; the run is then cut off, so that no
worker stands idle for want of pages within the time that counts.
Invariant: a probe leaves no worker and no file behind, whatever ends it.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.build import build
from ocrbatch.pipeline.drain import drained
from ocrbatch.pipeline.patience import judged
from ocrbatch.pipeline.resources import Cluster, size_pools
from ocrbatch.pipeline.session import end_workers
from ocrbatch.records import Document
from ocrbatch.sources.selection import Work
from ocrbatch.stages.identity import Identity, identify
from ocrbatch.stages.write import Imprint
from ocrbatch.storage import Storage
from ocrbatch.tuning.grid import applied, described, settings
from ocrbatch.tuning.observer import MEMORY, Halted, Observer
from ocrbatch.tuning.search import Infeasible, Point

ROWS: Final = 4096  # documents of a probe's list: more than any machine reads in its time


@dataclass(frozen=True, slots=True)
class Trial:
    """What one probe gave. pages_per_second: None where it did not run, for a reason.

    whole: False where it was given up, clearly behind. seconds: with the start and the warming of its workers.
    """

    settings: dict[str, Any]
    pages_per_second: float | None
    whole: bool
    reason: str
    seconds: float


@dataclass(slots=True)
class Prober:
    """Measures points of a grid, as `search.Measure`.

    config: with an output on this disk, for what the probes write. seconds: of a probe, that count.

    A worker that dies, or can't be set up for want of memory, makes its point infeasible. What ends any run is raised:
    UsageError, StorageError, InterruptedRunError ...
    """

    config: JobConfig
    identity: Identity
    cluster: Cluster
    run_id: str
    documents: Sequence[Document]
    extra: Sequence[pa.Field]
    say: Callable[[str], None]
    change_results: bool
    seconds: float
    trials: list[Trial] = field(default_factory=list)

    def __call__(self, point: Point, incumbent: float | None) -> float | Infeasible:
        """Pages a second of a point; less than it would give in the end where it is clearly behind the incumbent."""
        began = time.monotonic()
        identity, folder = self.identified(point), Path(self.config.output.uri, f"probe-{len(self.trials):03d}")
        try:
            found, whole = self._probe(identity, folder, incumbent)
            end_workers(self.run_id)  # where this is not reached, the session ends them
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - began, 2)
        if isinstance(found, Infeasible):
            trial, said = Trial(settings(point), None, False, found.reason, seconds), f"does not run: {found.reason}"
        else:
            trial, said = Trial(settings(point), found, whole, "", seconds), "" if whole else "(given up, behind)"
        self.trials.append(trial)
        speed = "      -" if trial.pages_per_second is None else f"{trial.pages_per_second:7.2f}"
        self.say(f"{len(self.trials):>8} {speed} pages/s  {described(point)}{said and '  '}{said}")
        return found

    def identified(self, point: Point) -> Identity:
        """The identity that a run with a point's settings has."""
        identity = identify(applied(self.identity.config, settings(point)))
        if identity.fingerprint != self.identity.fingerprint and not self.change_results:
            raise RuntimeError(f"{described(point)} would change results")
        return identity

    def _probe(self, identity: Identity, folder: Path, incumbent: float | None) -> tuple[float | Infeasible, bool]:
        config = applied(identity.config, {"output.uri": str(folder)})
        pools = size_pools(self.cluster, config.pipeline, config.engine.device)
        rows = max(worklist.GROUP_ROWS, config.pipeline.page_batch)
        storage = Storage(config.output.storage)
        files = list(worklist.write(self._work(), self.extra, storage, str(folder), pools.decoders.workers, rows))
        imprint = Imprint(0, self.run_id, identity.fingerprint, tuple(identity.models), datetime.now(UTC).date())
        dataset = build(replace(identity, config=config), pools, files, imprint)
        observer = Observer(pools, self.seconds, incumbent)
        try:
            with judged(observer.judge), closing(drained(dataset, stops=self.cluster.lives_on)) as results:
                for written in results:
                    observer.look(written)
        except Halted:
            pass
        except (UsageError, StoppedEarlyError) as error:
            if MEMORY not in str(error).lower():
                raise
            observer.give_up(str(error))
        return observer.verdict()

    def _work(self) -> Iterator[Work]:
        """The sample, over and over, each time in another order, or workers would always meet the same documents."""
        drawn = random.Random(0)
        rounds = (drawn.sample(self.documents, len(self.documents)) for _ in repeat(None))
        return (Work(document) for document in islice(chain.from_iterable(rounds), ROWS))
