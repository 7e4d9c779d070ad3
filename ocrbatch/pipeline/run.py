"""One run: select what is left, read it, commit as it comes, make up for what was lost, publish, report.

Invariant: whatever ends a run, what was committed stays, and the same command does the rest.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.engines.registry import choose, identity
from ocrbatch.errors import DocumentError, InterruptedRunError, OcrBatchError, StoppedEarlyError
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.build import ManifestFile, build
from ocrbatch.pipeline.drain import drained
from ocrbatch.pipeline.interrupts import catch, interruptible
from ocrbatch.pipeline.prepare import Inputs, check, check_columns, models, new_run_id, settled
from ocrbatch.pipeline.resources import Plan, plan
from ocrbatch.pipeline.session import end_workers, session
from ocrbatch.report.progress import Progress
from ocrbatch.report.summary import RunReport
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sources.selection import Tally, Work, decide, select
from ocrbatch.stages.base import FAILURE, ROW, failure_row
from ocrbatch.stages.identity import resolve_fingerprint
from ocrbatch.stages.write import WriteStage, Written
from ocrbatch.storage import Storage, join

log = logging.getLogger(__name__)

# After the first pass, what was lost with a worker is read again: once as it was, then with each page in a task of its
# own, so that one poisonous page takes no neighbours with it.
PASSES: Final = 3
NO_RETRY: Final = 0
"""As `attempts` of selection: failures stand, so what is left is what has neither a page nor a failure."""

Expected = Callable[[int], Sequence[int]]


def run(
    config: JobConfig, *, wait: bool = False, say: Callable[[str], None] = print, run_id: str | None = None
) -> RunReport:
    """Does the job that the config describes and gives its report, which is also under OUTPUT/_ocrbatch/runs/.

    wait: for another run of the same output to end. say: takes lines for a person.

    Raises UsageError (config, models, inputs), OutputLockedError, OutputInconsistentError, StoppedEarlyError, and
    InterruptedRunError after Ctrl-C or SIGTERM; what was finished by then is published.
    """
    with interruptible():
        return _run(config, run_id or new_run_id(), wait, say)


def _run(config: JobConfig, run_id: str, wait: bool, say: Callable[[str], None]) -> RunReport:
    started = time.monotonic()
    check(config)
    choice = choose(config.engine)
    config = settled(config, choice)
    say(f"Engine      {choice.why}")
    report = RunReport(
        run_id,
        config.output.uri,
        fingerprint=resolve_fingerprint(config),
        models=models(config),
        engine=identity(choice),
    )
    inputs = Inputs(config, Storage(config.input.storage))
    output = Storage(config.output.storage)
    expected = parse_pages(config.documents.pages).expected
    attempts = config.pipeline.attempts

    tally = Tally()
    ledger = read_ledger(output, config.output.uri)
    documents = inputs.documents()
    check_columns(inputs.extra, ledger, output, config.output.uri)
    if ledger.settled and next(select(documents, ledger, attempts, tally, expected), None) is None:
        _describe(report, tally)
        report.outcome = "nothing_left"
        report.stale = len(ledger.fingerprints - {report.fingerprint}) > 0
        return report

    with Committer.open(output, config.output, report.run_id, wait=wait, notify=say) as committer:
        job = _Job(config, output, committer, report, say, expected, started)
        tally = Tally()
        work = select(inputs.documents(), committer.ledger, attempts, tally, expected)
        try:
            job.read(work, inputs)
        except BaseException as error:
            _describe(report, tally)
            job.stop(error)
            raise
        _describe(report, tally)
        job.finish()
    return report


def _describe(report: RunReport, tally: Tally) -> None:
    report.documents_listed = tally.listed
    report.documents_complete = tally.complete + tally.failed + tally.ignored
    report.open_failures = tally.open_failures


@dataclass(slots=True)
class _Job:
    """The moving parts of one run, used by the driver's main thread only."""

    config: JobConfig
    storage: Storage
    committer: Committer
    report: RunReport
    say: Callable[[str], None]
    expected: Expected
    clock: float
    extra: list[pa.Field] = field(default_factory=list)
    files: list[ManifestFile] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress(0))
    met: set[tuple[str, str]] = field(default_factory=set)
    pending: list[Written] = field(default_factory=list)
    committed: float = 0.0

    def read(self, work: Iterable[Work], inputs: Inputs) -> None:
        """Reads all work, then again what was lost on the way, until each page has its row or its failure."""
        folder = join(self.config.output.uri, worklist.RUNS, self.report.run_id)
        with session(self.config.pipeline) as cluster:
            catch()
            pools = plan(cluster, self.config.pipeline)
            self.report.layout = pools.layout
            self.say(f"Workers     {pools}")
            worklist.write_settings(self.config, self.storage, folder)
            self.extra = inputs.extra
            self.files = left = self._write(work, folder, pools)
            self.report.documents_read = sum(file.rows for file in left)
            self.progress = Progress(self.report.documents_read)
            self._lap("start")
            for number in range(1, PASSES + 1):
                self._pass(pools, left, alone=number == PASSES)
                self.committer.adopt()  # staged files whose result was lost with the task that said so
                again = join(folder, f"pass-{number + 1}")
                left = self._write(self._lost(left), again, pools, alone=number + 1 == PASSES)
                if not left:
                    break
                if number < PASSES:
                    self.say(f"{_documents_lost(left)} pages with a worker; reading those again")
                    end_workers(self.report.run_id)
        self._give_up(left)
        self.progress.end()
        self._lap("read")

    def stop(self, error: BaseException) -> None:
        """Saves what is finished before the run ends early."""
        interrupted = isinstance(error, InterruptedRunError | KeyboardInterrupt)
        self.report.outcome = "interrupted" if interrupted else "stopped"
        self.report.reason = str(error)
        self.report.stopped_with = getattr(error, "exit_code", StoppedEarlyError.exit_code)
        with contextlib.suppress(OcrBatchError):
            self._commit()
            self.committer.close()
            self._save()

    def finish(self) -> None:
        """Publishes, counts what stands, and leaves the report beside the data."""
        self.committer.close()
        own = Tally()
        documents = (work.document for work in worklist.read(self.files, self.storage))
        for _ in select(documents, self.committer.ledger, NO_RETRY, own, self.expected):
            self.report.missing += 1
        self.report.open_failures += own.open_failures
        self.report.stale = len(self.committer.ledger.fingerprints - {self.report.fingerprint}) > 0
        self._lap("publish")
        self._save()

    def _write(self, work: Iterable[Work], folder: str, pools: Plan, *, alone: bool = False) -> list[ManifestFile]:
        group_rows = 1 if alone else worklist.GROUP_ROWS
        return list(worklist.write(work, self.extra, self.storage, folder, pools.decoders.workers, group_rows))

    def _pass(self, pools: Plan, files: Sequence[ManifestFile], *, alone: bool) -> None:
        if not files:
            return
        dataset = build(self.config, pools, files, self._writer(), alone=alone)
        for written in drained(dataset):
            if written is not None:
                self._take(written)
            if time.monotonic() - self.committed >= self.config.output.commit_seconds:
                self._commit()
                self.report.parts_published += self.committer.publish(limit=1)
            self.progress.show()
        self._commit()

    def _writer(self) -> WriteStage:
        report, today = self.report, datetime.now(UTC).date()
        return WriteStage(
            self.config, self.committer.epoch, report.run_id, report.fingerprint, tuple(report.models), today
        )

    def _take(self, written: Written) -> None:
        self.pending.append(written)
        if written.stop:
            raise StoppedEarlyError(*written.stop)
        self.report.count(written.pages, written.lines, written.blank, written.failures)
        for key, count in _documents(written):
            if key not in self.met:
                self.met.add(key)
                held = len(self.committer.ledger.pages_held(*key)[1])
                self.progress.meet(1 if count is None else max(0, len(self.expected(count)) - held))
        for _ in written.ignored:
            self.progress.meet(0)
        self.progress.add(written.pages, len(written.failures))

    def _commit(self) -> None:
        if self.pending:
            self.committer.add(
                [part for written in self.pending for part in written.parts],
                [key for written in self.pending for key in written.ignored],
            )
            self.report.documents_ignored += sum(len(written.ignored) for written in self.pending)
            self.pending.clear()
            self.committed = time.monotonic()

    def _lost(self, files: Sequence[ManifestFile]) -> Iterator[Work]:
        """The work that has neither all its pages nor failures for them."""
        for work in worklist.read(files, self.storage):
            again = decide(work.document, self.committer.ledger, NO_RETRY, self.expected).work
            if again is not None:
                yield again

    def _give_up(self, files: Sequence[ManifestFile]) -> None:
        """Failure rows for the pages that no pass could bring home."""
        ledger = self.committer.ledger
        works = worklist.read(files, self.storage)
        rows = [row for work in works for row in _lost_rows(work, ledger, self.expected)]
        if rows:
            for written in Written.decode(self._writer()(pa.Table.from_pylist(rows, schema=ROW))):
                self._take(written)
            self._commit()

    def _save(self) -> None:
        uri = join(self.config.output.uri, worklist.RUNS, self.report.run_id, "report.json")
        self.storage.put(uri, self.report.to_json().encode())

    def _lap(self, phase: str) -> None:
        now = time.monotonic()
        self.report.seconds[phase] = round(now - self.clock, 3)
        self.clock = now


def _documents_lost(files: Sequence[ManifestFile]) -> str:
    count = sum(file.rows for file in files)
    return f"{count} document{'' if count == 1 else 's'} lost"


def _documents(written: Written) -> Iterator[tuple[tuple[str, str], int | None]]:
    for part in written.parts:
        for held in part.pages:
            yield held.key, held.page_count
        for failed in part.failures:
            yield failed.key, failed.page_count


def _lost_rows(work: Work, ledger: Ledger, expected: Expected) -> Iterator[dict[str, Any]]:
    document = work.document
    count, held = ledger.pages_held(document.uri, document.etag)
    failed = ledger.failures(document.uri, document.etag)
    indexes = [None] if count is None else [i for i in expected(count) if i not in held and i not in failed]
    lost = failure_row(DocumentError("WORKER_CRASHED", "No worker finished this page."))
    for index in indexes:
        yield {
            "uri": document.uri,
            "etag": document.etag,
            "attempt": work.attempt,
            "page_index": index,
            "page_count": count,
            "outcome": FAILURE,
            "failure": lost,
        }
