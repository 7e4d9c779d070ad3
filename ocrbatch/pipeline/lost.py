"""What went down with a worker: pages to be read again, and failure rows for those that nobody could read. Pure.

Invariant: a failure of an earlier run does not stand for this one, which set out to try the page again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ocrbatch.errors import DocumentError
from ocrbatch.records import Document
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sources.selection import Decision, OpenFailure, Work, decide
from ocrbatch.stages.base import FAILURE, failure_row

Expected = Callable[[int], Sequence[int]]
"""Of a document with that many pages, the indexes that are asked for."""


def decided(work: Work, ledger: Ledger, expected: Expected) -> Decision:
    """What became of a run's work: left, where a page has neither its row nor a failure of this attempt."""

    def earlier(_: Document, index: int | None, failure: OpenFailure) -> bool:
        return failure.attempt < work.attempt and index not in work.done

    decision = decide(work.document, ledger, earlier, expected)
    if decision.work is None:
        return decision
    return replace(decision, work=replace(decision.work, attempt=work.attempt))


def lost(works: Iterator[Work], ledger: Ledger, expected: Expected) -> Iterator[Work]:
    """The work that is left of these."""
    for work in works:
        if (again := decided(work, ledger, expected).work) is not None:
            yield again


def lost_rows(work: Work, ledger: Ledger, expected: Expected) -> Iterator[dict[str, Any]]:
    """Failure rows, as dictionaries of `stages.base.ROW`, for the pages that are left of a document."""
    document = work.document
    count, _ = ledger.pages_held(document.uri, document.etag)
    said = "No worker finished this page: each died, or took longer than engine.timeout."
    failure = failure_row(DocumentError("WORKER_CRASHED", said))
    for index in [None] if count is None else [i for i in expected(count) if i not in work.done]:
        yield {
            "uri": document.uri,
            "etag": document.etag,
            "attempt": work.attempt,
            "page_index": index,
            "page_count": count,
            "outcome": FAILURE,
            "failure": failure,
        }
