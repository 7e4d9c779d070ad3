"""What is left to do: documents that are there, minus what the ledger holds. Pure.

Invariant: every document that is listed is counted once, as work, complete, failed or ignored, and no page that the
ledger holds, or that failed for good, is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Literal, Protocol

import pyarrow as pa

from ocrbatch.records import Document
from ocrbatch.schema import MANIFEST, extra_type


class OpenFailure(Protocol):
    """The last attempt at a page, or at a document, that is not there yet; attempt counts from 1, over all runs."""

    @property
    def attempt(self) -> int: ...  # noqa: D102

    @property
    def retryable(self) -> bool: ...  # noqa: D102

    @property
    def code(self) -> str: ...  # noqa: D102


class LedgerView(Protocol):
    """What selection asks the ledger about one version of a document."""

    def pages_held(self, uri: str, etag: str) -> tuple[int | None, Collection[int]]:
        """(page_count, indexes of the pages that are committed); the count is None where no page of it was ever met."""

    def failures(self, uri: str, etag: str) -> Mapping[int | None, OpenFailure]:
        """The open failures by page index; None stands for the document as a whole."""

    def is_past(self, uri: str, etag: str) -> bool:
        """Whether another version of the document was met after its failures, or they were dismissed."""

    def reopened_after(self, uri: str, etag: str) -> int:
        """The last attempt at which the document failed as a whole, where a later one did better; 0 for none."""

    def ignored(self, uri: str, etag: str) -> bool:
        """Whether it was met and is no document, as its name says."""


NONE_WANTED: Final = "PAGES_EMPTY"

# Whether an open failure of a document, at that page index or as a whole (None), is to be tried again.
Retries = Callable[[Document, int | None, OpenFailure], bool]


def is_tried_again(retryable: bool, attempt: int, attempts: int) -> bool:
    """Whether a run repeats a failure: one that may pass, until it was tried so often over all runs."""
    return retryable and attempt < attempts


def passing(attempts: int) -> Retries:
    """The failures that a run tries again."""
    return lambda document, index, failure: is_tried_again(failure.retryable, failure.attempt, attempts)


@dataclass(frozen=True, slots=True)
class Work:
    """A document to read. done: sorted indexes of pages that need no reading; attempt: of this run at it, from 1."""

    document: Document
    done: tuple[int, ...] = ()
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one document. stays: open failures that this run doesn't repeat; held: pages committed."""

    fate: Literal["left", "complete", "failed", "ignored"]
    work: Work | None = None
    stays: int = 0
    held: int = 0


@dataclass(slots=True)
class Tally:
    """Counts of documents: listed = left + complete + failed + ignored; and of rows: what was held and stays failed.

    failed: left out because of failures that no run repeats. open_failures: of those documents; documents that are
    left will have theirs counted when they are done. pages_held: pages of listed documents that are committed.
    """

    listed: int = 0
    left: int = 0
    complete: int = 0
    failed: int = 0
    ignored: int = 0
    open_failures: int = 0
    pages_held: int = 0

    def add(self, decision: Decision) -> None:
        """Counts one document."""
        self.listed += 1
        self.left += decision.fate == "left"
        self.complete += decision.fate == "complete"
        self.failed += decision.fate == "failed"
        self.ignored += decision.fate == "ignored"
        self.open_failures += decision.stays if decision.fate == "failed" else 0
        self.pages_held += decision.held


def decide(
    document: Document, state: LedgerView, retries: Retries, wanted: Callable[[int], Collection[int]] = range
) -> Decision:
    """Decides on one document.

    wanted: the page indexes to read of a document with that many pages; all of them unless `documents.pages` selects
    some.

    A failure that `retries` leaves out stands: its page counts as done; if it is the whole document's, the document is
    left out. A page that is held, or not wanted any more, has no failure.
    """
    if state.ignored(document.uri, document.etag):
        return Decision("ignored")
    count, held = state.pages_held(document.uri, document.etag)
    open_failures = state.failures(document.uri, document.etag)
    if count is None and not open_failures:  # as most are: 1.2 us instead of 2.7
        return Decision("left", Work(document, attempt=1 + state.reopened_after(document.uri, document.etag)))
    pages = None if count is None else wanted(count)
    came_back = state.is_past(document.uri, document.etag)
    failures = {
        i: f for i, f in open_failures.items() if i is None or (i not in held and (pages is None or i in pages))
    }
    again = {
        i: f.attempt
        for i, f in failures.items()
        # A version that has come back is looked at anew, and so is a document that had none of the pages once wanted.
        if retries(document, i, f) or came_back or (f.code == NONE_WANTED and count and _has_wanted(count, wanted))
    }
    stands = {i for i in failures if i not in again}
    done = set(held) | {i for i in stands if i is not None}
    # Where nothing of it is wanted any more, what is held is enough; where nothing ever was, the document failed.
    if pages is not None and done.issuperset(pages) and (pages or None not in failures):
        # All pages have their end, so a failure of the whole document (a worker that died, say) is past.
        stays = len(stands - {None})
        return Decision("failed" if stays else "complete", stays=stays, held=len(held))
    if None in stands:
        return Decision("failed", stays=len(failures), held=len(held))
    tried = max([state.reopened_after(document.uri, document.etag), *again.values()])
    work = Work(document, tuple(sorted(done)), 1 + tried)
    return Decision("left", work, stays=len(stands), held=len(held))


def _has_wanted(count: int, wanted: Callable[[int], Collection[int]]) -> bool:
    """Whether a document of `count` pages that had none of the pages once wanted has one of those wanted now.

    Asked of one page more: a lone page is always wanted, because an image is read whatever is selected; and this
    document is no image.
    """
    return any(index < count for index in wanted(count + 1))


def select(
    documents: Iterable[Document],
    state: LedgerView,
    retries: Retries,
    tally: Tally,
    wanted: Callable[[int], Collection[int]] = range,
) -> Iterator[Work]:
    """The documents that are left, in the order given; a generator that counts each document in `tally` as it passes.

    See `decide` for the rules and the arguments.
    """
    for document in documents:
        decision = decide(document, state, retries, wanted)
        tally.add(decision)
        if decision.work is not None:
            yield decision.work


def manifest_schema(extra: Sequence[pa.Field]) -> pa.Schema:
    """MANIFEST, and the struct column `extra` where a manifest gave pass-through columns (Parquet has no empty
    structs).
    """
    return MANIFEST.append(pa.field("extra", extra_type(list(extra)))) if extra else MANIFEST


def manifest_batches(work: Iterable[Work], extra: Sequence[pa.Field], rows: int = 4096) -> Iterator[pa.RecordBatch]:
    """The run's manifest in `manifest_schema(extra)`, `rows` documents a batch."""
    schema, items = manifest_schema(extra), iter(work)
    while chunk := list(islice(items, rows)):
        documents = [w.document for w in chunk]
        columns = {
            "uri": [d.uri for d in documents],
            "etag": [d.etag for d in documents],
            "size": [d.size for d in documents],
            "mtime": [d.mtime for d in documents],
            "done": [w.done for w in chunk],
            "attempt": [w.attempt for w in chunk],
        }
        arrays = [pa.array(columns[f.name], f.type) for f in MANIFEST]
        if extra:
            fields = list(extra_type(list(extra)))
            children = [pa.array([d.extra.get(f.name) for d in documents], f.type) for f in fields]
            arrays.append(pa.StructArray.from_arrays(children, fields=fields))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_manifest(batch: pa.RecordBatch | pa.Table) -> Iterator[Work]:
    """The inverse of `manifest_batches`: rows of the run's manifest as work."""
    for row in batch.to_pylist():
        document = Document(row["uri"], row["etag"], row["size"], row["mtime"])
        extra = row.get("extra")
        yield Work(replace(document, extra=extra) if extra else document, tuple(row["done"]), row["attempt"])
