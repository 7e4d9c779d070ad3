"""The middle of a run: what was selected is read, committed as it comes, and read again where it was lost.

Invariant: a page's result is counted when its write task says so, and is safe once `Committer.add` has returned.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from math import inf
from typing import Final

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.errors import InterruptedRunError, OcrBatchError, StoppedEarlyError, ending
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.build import build
from ocrbatch.pipeline.drain import drained
from ocrbatch.pipeline.lost import Expected, decided, lost, lost_rows
from ocrbatch.pipeline.patience import patience
from ocrbatch.pipeline.prepare import Source
from ocrbatch.pipeline.resources import Cluster, Pools, size_pools
from ocrbatch.pipeline.session import end_workers
from ocrbatch.pipeline.worklist import ManifestFile
from ocrbatch.report.progress import Progress
from ocrbatch.report.summary import RunReport
from ocrbatch.report.where import Where
from ocrbatch.sinks.commit import Committer
from ocrbatch.sources.selection import Tally, Work
from ocrbatch.stages.base import ROW
from ocrbatch.stages.identity import Identity
from ocrbatch.stages.write import Imprint, WriteStage, Written
from ocrbatch.storage import Storage, join

# After the first pass, what was lost with a worker is read again: once as it was, then with each page in a task of its
# own, so that one poisonous page takes no neighbours with it.
PASSES: Final = 3
LEAST_RESULTS: Final = 100  # before a share of failures says anything


@dataclass(slots=True)
class Job:
    """The moving parts of one run, used by the driver's main thread only."""

    identity: Identity
    storage: Storage
    committer: Committer
    report: RunReport
    say: Callable[[str], None]
    expected: Expected
    clock: float
    is_retry: bool = False
    extra: list[pa.Field] = field(default_factory=list)
    files: list[ManifestFile] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress(0))
    met: set[tuple[str, str]] = field(default_factory=set)
    home: int = 0
    where: Where = field(default_factory=Where)
    pending: list[Written] = field(default_factory=list)
    committed: float = 0.0

    @property
    def config(self) -> JobConfig:
        """The run's, with the engine settled."""
        return self.identity.config

    def read(self, work: Iterable[Work], inputs: Source, cluster: Cluster) -> None:
        """Reads all work, then again what was lost on the way, until each page has its row or its failure."""
        folder = self._folder
        pools = size_pools(cluster, self.config.pipeline, self.config.engine.device)
        self._introduce(pools)
        self.extra = inputs.extra
        self.files = left = self._write(work, folder, pools)
        self._leave_settings(inputs)
        self.report.documents_read = sum(file.rows for file in left)
        self.progress = Progress(self.report.documents_read)
        self._lap("start")
        began = time.time()
        for number in range(1, PASSES + 1):
            self._pass(cluster, pools, left, again=number > 1, alone=number == PASSES)
            self._adopt()
            again = lost(worklist.read(left, self.storage), self.committer.ledger, self.expected)
            if number == PASSES:
                self._give_up(again)
                break
            first = next(again, None)
            if first is None:
                break
            again = chain([first], again)
            left = self._write(again, join(folder, f"pass-{number + 1}"), pools, alone=number + 1 == PASSES)
            count = sum(file.rows for file in left)
            self.say(f"{count} document{'s' * (count > 1)} lost pages with a worker; reading those again")
            end_workers(self.report.run_id)
        self.progress.end()
        self._lap("read")
        self._split_load(began)

    def read_nothing(self, inputs: Source) -> None:
        """In place of `read` where nothing is left to read: says so beside the output, for which no Ray is needed."""
        self.report.fingerprint, self.extra = self.identity.fingerprint, inputs.extra
        self.files = list(worklist.write((), self.extra, self.storage, self._folder, workers=1))
        self._leave_settings(inputs)
        self._lap("start")

    def stop(self, error: BaseException) -> None:
        """Saves what is finished before the run ends early."""
        interrupted = isinstance(error, InterruptedRunError | KeyboardInterrupt)
        self.report.outcome = "interrupted" if interrupted else "stopped"
        self.report.reason = str(error)
        self.report.stopped_with = getattr(error, "exit_code", StoppedEarlyError.exit_code)
        with contextlib.suppress(OcrBatchError):
            self._commit()
            self.committer.close()
            if self.is_retry:  # before the report, which alone would be a run's that had not listed all yet
                self.storage.put(join(self._folder, worklist.RETRY), b"")
            self._save()

    def finish(self) -> None:
        """Publishes, counts what stands, and leaves the report beside the data."""
        self.committer.close()
        own, ledger = Tally(), self.committer.ledger
        for work in worklist.read(self.files, self.storage):
            own.add(decided(work, ledger, self.expected))
        self.report.missing = own.left
        self.report.stand(self.report.open_failures + own.open_failures, ledger.failure_total)
        self.report.stale = bool(self.report.fingerprint and ledger.fingerprints - {self.report.fingerprint})
        self._lap("publish")
        self._save()
        if not self.report.missing:
            self.storage.put(join(self._folder, worklist.DONE), b"")

    def _introduce(self, pools: Pools) -> None:
        report, identity = self.report, self.identity
        report.layout, report.fingerprint = pools.layout, identity.fingerprint
        report.engine, report.models = identity.engine, identity.models
        self.say(f"Engine      {identity.why}")
        self.say(f"Workers     {pools}")

    def _write(self, work: Iterable[Work], folder: str, pools: Pools, *, alone: bool = False) -> list[ManifestFile]:
        group_rows = 1 if alone else max(worklist.GROUP_ROWS, self.config.pipeline.page_batch)
        return list(worklist.write(work, self.extra, self.storage, folder, pools.decoders.workers, group_rows))

    def _leave_settings(self, inputs: Source) -> None:
        """After the list, so that a run that has left settings has left all that it set out to read."""
        name = worklist.RETRY_SETTINGS if self.is_retry else worklist.SETTINGS
        worklist.write_settings(self.config, self.storage, self._folder, name, inputs.listed)

    def _pass(self, cluster: Cluster, pools: Pools, files: Sequence[ManifestFile], *, again: bool, alone: bool) -> None:
        if not any(file.rows for file in files):
            return
        dataset = build(self.identity, pools, files, self._imprint, alone=alone)
        limit = inf if self.is_retry else self.config.pipeline.max_error_rate  # a retry may well fail everywhere
        with (
            patience(lambda: self.home, limit, again=again),
            contextlib.closing(drained(dataset, stops=cluster.lives_on)) as results,
        ):
            for written in results:
                if written is not None:
                    self._take(written)
                if time.monotonic() - self.committed >= self.config.output.commit_seconds:
                    self._commit()
                    self.committer.publish(limit=1)
                self.progress.show()
        self._commit()

    @property
    def _folder(self) -> str:
        return worklist.folder_of(self.config.output.uri, self.committer.epoch, self.report.run_id)

    @property
    def _imprint(self) -> Imprint:
        report, today = self.report, datetime.now(UTC).date()
        return Imprint(self.committer.epoch, report.run_id, report.fingerprint, tuple(report.models), today)

    def _take(self, written: Written) -> None:
        self.pending.append(written)
        if written.stop:
            message, remedy, exit_code = written.stop
            raise ending(exit_code)(message, remedy)
        self.home += 1
        self.where.add(written.spans)
        self.report.count(written.pages, written.lines, written.blank, written.failures)
        for key, count, whole in _documents(written):
            if key not in self.met:
                if not whole:  # else it does not come again: a million documents of one page would be 110 MB
                    self.met.add(key)
                held = len(self.committer.ledger.pages_held(*key)[1])
                self.progress.meet(1 if count is None else max(0, len(self.expected(count)) - held))
        for _ in written.ignored:
            self.progress.meet(0)
        self.progress.add(written.pages, len(written.failures))
        self._check_error_rate()

    def _check_error_rate(self) -> None:
        failures, limit = self.report.failures, self.config.pipeline.max_error_rate
        failed = sum(failures.values())
        results = self.report.pages + failed
        if results < LEAST_RESULTS or failed < limit * results or self.is_retry:  # a retry may well fail everywhere
            return
        worst = max(failures, key=lambda code: failures[code])
        example = next(example for example in self.report.examples if example["code"] == worst)
        raise StoppedEarlyError(
            f"{failed} of the first {results} results are failures, {failures[worst]} of them {worst} "
            f"({example['uri']}: {example['message']})",
            f"{example['remedy']} To read on all the same, set pipeline.max_error_rate above {failed / results:.2g}.",
        )

    def _commit(self) -> None:
        if self.pending:
            self.committer.add(
                [part for written in self.pending for part in written.parts],
                [key for written in self.pending for key in written.ignored],
            )
            self.report.documents_ignored += sum(len(written.ignored) for written in self.pending)
            self.pending.clear()
            self.committed = time.monotonic()

    def _adopt(self) -> None:
        """Commits staged files whose result was lost with the task that would have said so."""
        before = self.committer.ledger.page_total
        self.committer.adopt()
        found = self.committer.ledger.page_total - before
        self.report.pages += found
        self.progress.add(found, 0)

    def _give_up(self, works: Iterable[Work]) -> None:
        """Failure rows for the pages that no pass could bring home."""
        ledger = self.committer.ledger
        rows = [row for work in works for row in lost_rows(work, ledger, self.expected)]
        if rows:
            self._take(WriteStage(self.config, self._imprint).written(pa.Table.from_pylist(rows, schema=ROW)))
            self._commit()

    def _save(self) -> None:
        self.report.stages, self.report.padding_ratio = self.where.to_json(), round(self.where.fill.padding_ratio, 4)
        published = self.committer.ledger.published.values()
        self.report.parts_published = sum(p.kind == "pages" and p.n > self.committer.epoch for p in published)
        self.storage.put(join(self._folder, worklist.REPORT), self.report.to_json().encode())

    def _split_load(self, began: float) -> None:
        """Of the phase read, what came before a worker had its model and a batch is the phase load."""
        whole = self.report.seconds.pop("read")
        load = round(min(max(0.0, self.where.began - began), whole), 3) if self.where.stages else 0.0
        self.report.seconds |= {"load": load, "read": round(whole - load, 3)}

    def _lap(self, phase: str) -> None:
        now = time.monotonic()
        self.report.seconds[phase] = round(now - self.clock, 3)
        self.clock = now


def _documents(written: Written) -> Iterator[tuple[tuple[str, str], int | None, bool]]:
    """(document, its page count if known, whether all its pages are there)."""
    for part in written.parts:
        for held in part.pages:
            yield held.key, held.page_count, len(held.pages) == held.page_count
        for failed in part.failures:
            yield failed.key, failed.page_count, False
