"""One run: select what is left, read it, commit as it comes, make up for what was lost, publish, report.

Invariant: whatever ends a run, what was committed stays, and the same command does the rest.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.engines.registry import choose, identity
from ocrbatch.errors import DocumentError, InterruptedRunError, OcrBatchError, StoppedEarlyError, UsageError
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.build import ManifestFile, build
from ocrbatch.pipeline.resources import Plan, plan
from ocrbatch.pipeline.session import session
from ocrbatch.records import Document
from ocrbatch.report.progress import Progress
from ocrbatch.report.summary import RunReport
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sources import listing, manifest
from ocrbatch.sources.selection import Tally, Work, decide, select
from ocrbatch.stages.base import FAILURE, ROW, failure_row
from ocrbatch.stages.identity import resolve_fingerprint
from ocrbatch.stages.write import WriteStage, Written
from ocrbatch.storage import Storage, join

log = logging.getLogger(__name__)

RUNS: Final = "_ocrbatch/runs"
# After the first pass, what was lost with a worker is read again: once as it was, then a page at a time, so that one poisonous
# page takes no neighbours with it.
PASSES: Final = 3
POLL_SECONDS: Final = 0.25
"""Longest wait for a result before the commit clock and the progress line are looked at."""
NO_RETRY: Final = 0
"""As `attempts` of selection: failures stand, so what is left is what has neither a page nor a failure."""


@dataclass(slots=True)
class Inputs:
    """What the config names: documents, listed anew at every call, and the manifest's pass-through columns."""

    config: JobConfig
    storage: Storage
    extra: list[pa.Field] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        """The documents, one by one; raises UsageError where there is nothing to list."""
        if self.config.input.manifest:
            found = manifest.read(self.config.input, self.storage)
            self.extra = found.extra
            return found.documents
        return listing.documents(self.config.input, self.storage)


def run(
    config: JobConfig, *, wait: bool = False, say: Callable[[str], None] = print, run_id: str | None = None
) -> RunReport:
    """Does the job that the config describes and gives its report, which is also at OUTPUT/_ocrbatch/runs/.

    wait: for another run of the same output to end. say: takes lines for a person.

    Raises UsageError (config, models, inputs), OutputLockedError, OutputInconsistentError, StoppedEarlyError, and
    InterruptedRunError after Ctrl-C or SIGTERM; what was committed by then is published.
    """
    started = time.monotonic()
    check(config)
    # The engine is settled here, once, so that every worker takes the same one or refuses.
    choice = choose(config.engine)
    config = settled(config)
    fingerprint = resolve_fingerprint(config)
    say(f"Engine      {choice.why}")
    report = RunReport(run_id or new_run_id(), config.output.uri, fingerprint=fingerprint, models=models(config))
    report.engine = identity(choice)
    inputs = Inputs(config, Storage(config.input.storage))
    output = Storage(config.output.storage)
    wanted = parse_pages(config.documents.pages).indexes

    ledger = read_ledger(output, config.output.uri)
    tally = Tally()
    if (
        ledger.settled
        and next(select(inputs.documents(), ledger, config.pipeline.attempts, tally, wanted), None) is None
    ):
        _describe(report, tally)
        report.outcome = "nothing_left"
        return report

    with _signals(), Committer.open(output, config.output, report.run_id, wait=wait, notify=say) as committer:
        job = _Job(config, output, committer, report, say, wanted, started)
        tally = Tally()
        work = select(inputs.documents(), committer.ledger, config.pipeline.attempts, tally, wanted)
        try:
            job.read(work, inputs)
        except (OcrBatchError, KeyboardInterrupt) as error:
            job.stop(error)
            raise
        finally:
            _describe(report, tally)
        job.finish()
    return report


def check(config: JobConfig) -> None:
    """Raises UsageError where the config lacks what every run needs."""
    if not config.output.uri:
        raise UsageError("there is no output", "Give --output, or output.uri in the config.")
    if not config.input.uris and not config.input.manifest:
        raise UsageError("there is no input", "Give --input, --manifest, or input.uris in the config.")
    parse_pages(config.documents.pages)


def settled(config: JobConfig) -> JobConfig:
    """The config with the engine, device and precision that this machine resolves `auto` to."""
    choice = choose(config.engine)
    engine = config.engine.model_copy(
        update={"name": choice.name, "device": choice.options.device, "precision": choice.options.precision}
    )
    return config.model_copy(update={"engine": engine})


def models(config: JobConfig) -> list[str]:
    """Official names of the weights that the task uses."""
    names = {"ocr": ("detection", "recognition"), "detect": ("detection",), "recognize": ("recognition",)}
    return [getattr(config, section).model_name for section in names[config.task]]


def new_run_id() -> str:
    """Sorts by time: 20261121T101500-1a2b3c."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


@dataclass(slots=True)
class _Job:
    """The moving parts of one run, used by the driver's main thread only."""

    config: JobConfig
    storage: Storage
    committer: Committer
    report: RunReport
    say: Callable[[str], None]
    wanted: Callable[[int], Sequence[int]]
    started: float
    progress: Progress | None = None
    met: set[tuple[str, str]] = field(default_factory=set)
    pending: list[Written] = field(default_factory=list)
    committed: float = 0.0

    def read(self, work: Iterable[Work], inputs: Inputs) -> None:
        """Reads all work, then again what was lost on the way, until each page has its row or its failure."""
        with session(self.config.pipeline) as cluster:
            pools = plan(cluster, self.config.pipeline)
            self.report.layout = pools.layout
            self.say(f"Workers     {pools}")
            extra = inputs.extra
            folder = join(self.config.output.uri, RUNS, self.report.run_id)
            files = list(worklist.write(work, extra, self.storage, folder, pools.decoders.workers))
            self.report.documents_read = sum(file.rows for file in files)
            self.progress = Progress(self.report.documents_read)
            self._clock("start")
            for number in range(PASSES):
                self._pass(pools, files, self.config.pipeline.page_batch if number < PASSES - 1 else 1)
                files = list(self._lost(files, extra, join(folder, f"pass-{number + 2}"), pools))
                if not files:
                    break
                self.say(f"{sum(f.rows for f in files)} documents lost pages with a worker; reading those again")
            self.progress.end()
            if files:
                self._give_up(files)
            self._clock("read")

    def _pass(self, pools: Plan, files: Sequence[ManifestFile], page_batch: int) -> None:
        if not files:
            return
        write = WriteStage(
            self.config, self.committer.epoch, self.report.run_id, self.report.fingerprint,
            tuple(self.report.models), date.today(),
        )  # fmt: skip
        dataset = build(self.config, pools, files, self.report.fingerprint, write, page_batch)
        self.committed = time.monotonic()
        for written in _drained(dataset):
            if written is not None:
                self._take(written)
            if time.monotonic() - self.committed >= self.config.output.commit_seconds:
                self._commit()
                self.committer.publish(limit=1)
            assert self.progress is not None
            self.progress.show()
        self._commit()

    def _take(self, written: Written) -> None:
        self.pending.append(written)
        self.report.count(written.pages, written.lines, written.blank, written.failures)
        assert self.progress is not None
        for key, count in _documents(written):
            if key not in self.met:
                self.met.add(key)
                held = len(self.committer.ledger.pages_held(*key)[1])
                self.progress.meet(1 if count is None else max(0, len(self.wanted(count)) - held))
        for _ in written.ignored:
            self.progress.meet(0)
        self.progress.add(written.pages, len(written.failures), len(written.ignored))

    def _commit(self) -> None:
        if self.pending:
            self.committer.add(
                [part for written in self.pending for part in written.parts],
                [key for written in self.pending for key in written.ignored],
            )
            self.report.documents_ignored += sum(len(written.ignored) for written in self.pending)
            self.pending.clear()
        self.committed = time.monotonic()

    def _lost(
        self, files: Sequence[ManifestFile], extra: list[pa.Field], folder: str, pools: Plan
    ) -> Iterator[ManifestFile]:
        """The work that has neither all its pages nor failures for them, as a new manifest."""
        self.committer.adopt()  # staged files whose result was lost with the task that said so
        left = (
            work
            for done in worklist.read(files, self.storage)
            if (work := decide(done.document, self.committer.ledger, NO_RETRY, self.wanted).work) is not None
        )
        return worklist.write(left, extra, self.storage, folder, pools.decoders.workers)

    def _give_up(self, files: Sequence[ManifestFile]) -> None:
        """Failure rows for the pages that no pass could bring home."""
        rows = [
            row
            for work in worklist.read(files, self.storage)
            for row in _lost_rows(work, self.committer.ledger, self.wanted)
        ]
        write = WriteStage(
            self.config, self.committer.epoch, self.report.run_id, self.report.fingerprint, (), date.today()
        )
        for written in Written.decode(write(pa.Table.from_pylist(rows, schema=ROW))):
            self._take(written)
        self._commit()

    def stop(self, error: BaseException) -> None:
        """Saves what is finished before the run ends early."""
        self.report.outcome = "interrupted" if isinstance(error, InterruptedRunError | KeyboardInterrupt) else "stopped"
        self.report.reason = str(error)
        with contextlib.suppress(OcrBatchError):
            self._commit()
            self.committer.close()
            self._save()

    def finish(self) -> None:
        """Publishes, counts what stands, and leaves the report beside the data."""
        before = len(self.committer.ledger.published)
        self.committer.close()
        self.report.parts_published = len(self.committer.ledger.published) - before
        self.report.open_failures = self.committer.ledger.failure_total
        self._clock("publish")
        self._save()

    def _save(self) -> None:
        uri = join(self.config.output.uri, RUNS, self.report.run_id, "report.json")
        self.storage.put(uri, self.report.to_json().encode())

    def _clock(self, phase: str) -> None:
        now = time.monotonic()
        self.report.seconds[phase] = round(now - self.started, 3)
        self.started = now


def _documents(written: Written) -> Iterator[tuple[tuple[str, str], int | None]]:
    for part in written.parts:
        for held in part.pages:
            yield held.key, held.page_count
        for failed in part.failures:
            yield failed.key, failed.page_count


def _lost_rows(work: Work, ledger: Ledger, wanted: Callable[[int], Sequence[int]]) -> Iterator[dict[str, Any]]:
    document = work.document
    count, held = ledger.pages_held(document.uri, document.etag)
    failed = ledger.failures(document.uri, document.etag)
    indexes = [None] if count is None else [i for i in wanted(count) if i not in held and i not in failed]
    for index in indexes:
        yield {
            "uri": document.uri, "etag": document.etag, "attempt": work.attempt, "page_index": index, "page_count": count,
            "outcome": FAILURE, "failure": failure_row(DocumentError("WORKER_CRASHED", "No worker finished this page.")),
        }  # fmt: skip


def _describe(report: RunReport, tally: Tally) -> None:
    report.documents_listed = tally.listed
    report.documents_complete = tally.complete + tally.failed + tally.ignored
    report.open_failures = tally.open_failures


def _drained(dataset: Any) -> Iterator[Written | None]:
    """Results as they come, None where none came for a moment.

    A thread of its own takes them from Ray: those still in its queue when a later task fails the job would be lost.
    """
    results: queue.SimpleQueue[Written | BaseException | None] = queue.SimpleQueue()

    def drain() -> None:
        try:
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for written in Written.decode(table):
                    results.put(written)
        except BaseException as error:
            results.put(error)
        else:
            results.put(None)

    threading.Thread(target=drain, name="drain", daemon=True).start()
    while True:
        try:
            result = results.get(timeout=POLL_SECONDS)
        except queue.Empty:
            yield None
            continue
        if result is None:
            return
        if isinstance(result, BaseException):
            raise _plain(result)
        yield result


def _plain(error: BaseException) -> BaseException:
    """The cause of a failed Ray job, in our own words where it was one of our errors."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OcrBatchError):
            return seen
        cause = getattr(seen, "cause", None)
        seen = cause if isinstance(cause, BaseException) else seen.__cause__
    first = str(error).strip().splitlines() or [type(error).__name__]
    return StoppedEarlyError(
        f"the Ray job failed: {type(error).__name__}: {first[-1][:500]}",
        "What was committed is kept: run the same command again.",
    )


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM as InterruptedRunError, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: object) -> None:
        raise InterruptedRunError(signal.Signals(number).name, number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
