"""One run: select what is left, read it, commit as it comes, make up for what was lost, publish, report.

Invariant: whatever ends a run, what was committed stays, and the same command does the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice

from ocrbatch.config import JobConfig
from ocrbatch.documents import passwords
from ocrbatch.documents.pages import parse_pages
from ocrbatch.errors import OcrBatchError
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.job import Job
from ocrbatch.pipeline.prepare import Inputs, Source, check, check_extra, new_run_id, writable
from ocrbatch.pipeline.retry import Chosen, FailedDocuments
from ocrbatch.pipeline.session import identified, session, stays_here
from ocrbatch.pipeline.unfinished import is_owed
from ocrbatch.records import Document
from ocrbatch.report.summary import RunReport
from ocrbatch.sinks.columns import check_columns
from ocrbatch.sinks.commit import Committer, whole_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.verify import require_files
from ocrbatch.sources.selection import Decision, Tally, decide, passing, select
from ocrbatch.stages.identity import Identity, identify
from ocrbatch.storage import Storage


def run(
    config: JobConfig,
    *,
    wait: bool = False,
    say: Callable[[str], None] = print,
    run_id: str | None = None,
    retry: Chosen | None = None,
) -> RunReport:
    """Does the job that the config describes and gives its report, which is also under OUTPUT/_ocrbatch/runs/.

    wait: for another run of the same output to end. say: takes lines for a person. retry: read these failures of the
    output again instead of the config's inputs.

    Raises UsageError (config, models, inputs), OutputLockedError, OutputInconsistentError, StoppedEarlyError, and
    InterruptedRunError after Ctrl-C or SIGTERM; what was finished by then is published.
    """
    with interruptible():
        return _run(config, run_id or new_run_id(), wait, say, retry)


def _identity_here(config: JobConfig) -> Identity | None:
    """What all workers will compute with where they are on this machine; None: a cluster's have to be asked, once it is
    joined."""
    if not stays_here(config.pipeline):
        return None
    passwords.require(config.documents.passwords)
    return identify(config)


def _nobody(config: JobConfig) -> Identity:
    """Whose results there are none of: where nothing is to be read, a cluster's workers are not asked."""
    return Identity(config, "", {}, [], {}, "")


def _run(config: JobConfig, run_id: str, wait: bool, say: Callable[[str], None], retry: Chosen | None) -> RunReport:
    started = time.monotonic()
    check(config)
    identity = _identity_here(config)
    output = Storage(config.output.storage)
    inputs: Source = Inputs(config, Storage(config.input.storage))
    retries = passing(config.pipeline.attempts)
    if retry is not None:
        inputs, retries = FailedDocuments(config, retry), retry
    expected = parse_pages(config.documents.pages).expected
    report, tally = RunReport(run_id, config.output.uri), Tally()

    with writable(config.output.uri):
        ledger = whole_ledger(output, config.output.uri)
        require_files(output, config.output.uri, ledger)
    say("Inputs      listing what there is to read")
    rays = contextlib.ExitStack()
    with contextlib.closing(inputs.documents()) as documents, rays:
        check_extra(inputs.extra, config)
        check_columns(inputs.extra, ledger, output, config.output.uri)
        first = _first_left(documents, tally, lambda document: decide(document, ledger, retries, expected))
        nothing = not first and ledger.settled
        if nothing and (retry is not None or not is_owed(config, inputs.listed, output, ledger)):
            _describe_nothing(report, tally, ledger, identity)
            report.outcome = "nothing_left" if retry is None else "nothing_fits"
            return report

        cluster = None
        if first and identity is None:
            cluster = rays.enter_context(session(config.pipeline, run_id))
            identity = identified(config, cluster)
        with writable(config.output.uri):
            opened = Committer.open(output, config.output, report.run_id, wait=wait, notify=say)
        with opened as committer:
            who = identity or _nobody(config)
            job = Job(who, output, committer, report, say, expected, started, retry is not None)
            work = select(chain(first, documents), committer.ledger, retries, tally, expected)
            try:
                with rays:  # which ends with the reading: what is left to do needs the memory more
                    left = list(islice(work, 1))  # none, too, where another run was waited for and has read all
                    if left:
                        cluster = cluster or rays.enter_context(session(config.pipeline, run_id))
                        job.read(chain(left, work), inputs, cluster)
                    else:
                        job.read_nothing(inputs)
            except BaseException as error:
                _describe(report, tally)
                job.stop(error)
                if isinstance(error, OcrBatchError):
                    error.report = report
                raise
            _describe(report, tally)
            job.finish()
    return report


def _first_left(documents: Iterable[Document], tally: Tally, decide: Callable[[Document], Decision]) -> list[Document]:
    """The first document that is left to read, if any; those before it are counted."""
    for document in documents:
        decision = decide(document)
        if decision.work is not None:
            return [document]
        tally.add(decision)
    return []


def _describe(report: RunReport, tally: Tally) -> None:
    report.documents_listed = tally.listed
    report.documents_complete = tally.complete + tally.failed + tally.ignored
    report.open_failures = tally.open_failures


def _describe_nothing(report: RunReport, tally: Tally, ledger: Ledger, identity: Identity | None) -> None:
    _describe(report, tally)
    report.stand(tally.open_failures, ledger.failure_total)
    report.stale = identity is not None and bool(ledger.fingerprints - {identity.fingerprint})
