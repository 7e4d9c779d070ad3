"""What the log adds up to: which pages an output holds, which failures are open, what waits to be published.

Pure: no storage, no clock. Invariant: a ledger is a function of the records 0 .. next-1 alone, so every reader of the
log has the same one; and what it holds only grows, so a file found superfluous once stays so. All fields are plain
dicts, sets and integers, to be stored as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from ocrbatch.errors import OutputInconsistentError
from ocrbatch.sinks.layout import Kind
from ocrbatch.sinks.log import Add, Close, FailedPage, HeldPages, Key, Open, Part, Publish, Record

_NO_FAILURES: Final[Mapping[int | None, FailureState]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FailureState:
    """The last attempt at a page, or at a document, that is not there yet. attempt counts from 1, over all runs."""

    attempt: int
    retryable: bool
    code: str
    stage: str


@dataclass(frozen=True, slots=True)
class Published:
    """A part that readers see. `n` is the record that published it; schema: see `Part`."""

    n: int
    kind: Kind
    rows: int
    bytes: int
    sha256: str
    schema: str


class PageSet(Set[int]):
    """Page indexes as one integer, bit i for page i: 5,000 pages are 0.7 KB, a single page 28 bytes."""

    __slots__ = ("mask",)

    def __init__(self, mask: int = 0) -> None:
        self.mask = mask

    @classmethod
    def of(cls, indexes: Iterable[int]) -> PageSet:
        """The set of these indexes, each at least 0."""
        return cls(_mask(indexes))

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and index >= 0 and bool(self.mask >> index & 1)

    def __iter__(self) -> Iterator[int]:
        rest = self.mask
        while rest:
            lowest = rest & -rest
            yield lowest.bit_length() - 1
            rest ^= lowest

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __repr__(self) -> str:
        return f"PageSet({list(self)})"

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> PageSet:  # type: ignore[override]
        return cls.of(it)


def _mask(indexes: Iterable[int]) -> int:
    mask = 0
    for index in indexes:
        mask |= 1 << index
    return mask


@lru_cache(maxsize=1024)
def _state(count: int | None, mask: int) -> tuple[int | None, int]:
    """Of most documents that are whole it is the same: 72 bytes less for each."""
    return count, mask


def _outline(part: Part) -> Part:
    return replace(
        part,
        pages=tuple(replace(document, pages=document.pages[:1]) for document in part.pages[:1]),
        failures=part.failures[:1],
    )


@dataclass(slots=True)
class Ledger:
    """The state after the records 0 .. next-1; make one by `commit.read_ledger`.

    held: document -> (page count if known, mask of the pages held); page_total: how many pages. failed: document -> its
    failures. failing: URI -> the etags that `failed` has of it; past: those documents in `failed` that have been
    replaced since, or dismissed. reopened: document -> the last attempt that failed as a whole, where a later one did
    better. staged: shard -> path -> part (of its keys the first alone, which orders merges: the rest are in `held` and
    `failed`). published: path -> part. unapplied: shard -> the number of its last record and that record, where it is a
    PUBLISH. owners: epoch -> shard. opened: shard -> its last OPEN.
    """

    next: int = 0
    held: dict[Key, tuple[int | None, int]] = field(default_factory=dict)
    page_total: int = 0
    failed: dict[Key, dict[int | None, FailureState]] = field(default_factory=dict)
    failing: dict[str, set[str]] = field(default_factory=dict)
    past: set[Key] = field(default_factory=set)
    reopened: dict[Key, int] = field(default_factory=dict)
    ignored_keys: set[Key] = field(default_factory=set)
    staged: dict[str, dict[str, Part]] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)
    unapplied: dict[str, tuple[int, Publish]] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    opened: dict[str, Open] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)

    # ---- what selection asks

    def pages_held(self, uri: str, etag: str) -> tuple[int | None, PageSet]:
        """The document's page count, None where nobody opened it yet, and the indexes of the pages that are there."""
        count, mask = self.held.get((uri, etag), (None, 0))
        return count, PageSet(mask)

    def failures(self, uri: str, etag: str) -> Mapping[int | None, FailureState]:
        """The failures of this version by page index; None stands for the document.

        A page's failure stands until the page is held, a document's until one of its pages is held, or failed in a
        later attempt: then it could be opened after all.
        """
        return self.failed.get((uri, etag), _NO_FAILURES)

    def is_past(self, uri: str, etag: str) -> bool:
        """Whether the failures of this version are no more open: another was met since, or they were dismissed."""
        return (uri, etag) in self.past

    def reopened_after(self, uri: str, etag: str) -> int:
        """The last attempt at which this version failed as a whole, where a later one did better; 0 for none."""
        return self.reopened.get((uri, etag), 0)

    def ignored(self, uri: str, etag: str) -> bool:
        """True for a file that is no document and says so by its name."""
        return (uri, etag) in self.ignored_keys

    def open_failures(self) -> Iterator[tuple[str, str, int | None, FailureState]]:
        """(uri, etag, page index or None, state) of the failures of each document's last version that was met.

        Of a container, which has them where it could not be listed, they are past once a listed member is met.
        """
        for key, pages in self.failed.items():
            if key not in self.past:
                for index, state in pages.items():
                    yield *key, index, state

    def partly_read(self) -> set[Key]:
        """The documents that failed as a whole, until a later attempt met some of their pages, but not all."""
        return {key for key in self.reopened if self._is_partly_read(key)}

    def _is_partly_read(self, key: Key) -> bool:
        count, mask = self.held.get(key, (None, 0))
        failed = self.failed.get(key, {})
        return count is not None and None not in failed and mask.bit_count() + len(failed) < count

    @property
    def failure_total(self) -> int:
        """How many failures are open."""
        return sum(len(pages) for key, pages in self.failed.items() if key not in self.past)

    @property
    def page_parts(self) -> int:
        """How many parts of pages/ are published; those of failures/ are not counted."""
        return sum(part.kind == "pages" for part in self.published.values())

    @property
    def settled(self) -> bool:
        """True where every writer closed: nothing waits in staging for the next one."""
        return self.closed == set(self.opened) and not any(self.staged.values())

    def names(self, path: str) -> bool:
        """True where a staged file still stands for rows: it must not be deleted."""
        return any(path in parts for parts in self.staged.values()) or any(
            path == publish.merged for _, publish in self.unapplied.values()
        )

    # ---- what a writer asks

    def admit(self, parts: Iterable[Part], *, late: bool = False) -> list[Part]:
        """For each part, what of it is new: the part itself, or a copy with fewer keys, or with none.

        New is a page that neither the ledger nor an earlier one of `parts` holds, and a failure that is later than
        the last of its page, unless that page is held. late: the parts were found lying about, and may be older than
        what is held; a document's failure then gives way to any page of the document. A part that the ledger names
        already has nothing new.
        """
        claimed: dict[Key, int] = {}
        tried: dict[tuple[Key, int | None], int] = {}
        seen: set[str] = set()
        fresh: dict[int, Part] = {}
        ordered = list(enumerate(parts))
        # Pages first: they settle which failures are moot.
        for position, part in sorted(ordered, key=lambda item: item[1].kind != "pages"):
            if part.path in seen or self.names(part.path):
                fresh[position] = replace(part, pages=(), failures=())
                continue
            seen.add(part.path)
            pages = tuple(filter(None, (self._new_pages(document, claimed) for document in part.pages)))
            failures = tuple(failed for failed in part.failures if self._is_new(failed, claimed, tried, late))
            same = pages == part.pages and failures == part.failures
            fresh[position] = part if same else replace(part, pages=pages, failures=failures)
        return [fresh[position] for position, _ in ordered]

    def _new_pages(self, document: HeldPages, claimed: dict[Key, int]) -> HeldPages | None:
        mask = self._mask(document.key) | claimed.get(document.key, 0)
        pages = tuple(index for index in document.pages if not mask >> index & 1)
        claimed[document.key] = mask | _mask(pages)
        return replace(document, pages=pages) if pages else None

    def _is_new(
        self, failed: FailedPage, claimed: dict[Key, int], tried: dict[tuple[Key, int | None], int], late: bool
    ) -> bool:
        key, index = failed.key, failed.page_index
        count, mask = self.held.get(key, (None, 0))
        mask |= claimed.get(key, 0)
        last = self.failures(*key).get(index)
        attempts = [last.attempt if last else 0, tried.get((key, index), 0)]
        if index is None:
            moot = (late and mask != 0) or (count is not None and mask.bit_count() >= count)
            attempts.append(self.reopened.get(key, 0))
        else:
            moot = bool(mask >> index & 1)
        if moot or failed.attempt <= max(attempts):
            return False
        tried[key, index] = failed.attempt
        return True

    # ---- how records apply

    def apply(self, n: int, record: Record) -> None:
        """Takes in the record at `n`. Raises OutputInconsistentError where it does not fit what went before."""
        if n != self.next:
            raise ValueError(f"record {n} can't follow record {self.next - 1}")
        self.check(record)
        match record:
            case Open():
                self.owners[n] = record.shard
                self.opened[record.shard] = record
                self.closed.discard(record.shard)
            case Add():
                self.unapplied.pop(record.shard, None)
                for part in record.parts:
                    self._hold(part)
                    self.staged.setdefault(record.shard, {})[part.path] = _outline(part)
                for key in record.ignored:
                    self._meet(key)
                self.ignored_keys.update(record.ignored)
                self.past.update(key for key in record.dismissed if key in self.failed)
            case Publish():
                for path in record.replaces:
                    del self.staged[record.shard][path]
                self.published[record.path] = Published(
                    n, record.kind, record.rows, record.bytes, record.sha256, record.schema
                )
                self.unapplied[record.shard] = n, record
            case Close():
                self.unapplied.pop(record.shard, None)
                self.closed.add(record.shard)
        self.next = n + 1

    def _hold(self, part: Part) -> None:
        if part.kind == "pages":
            self.fingerprints.update(part.fingerprints)
        for document in part.pages:
            self._meet(document.key)
            held = self._mask(document.key) | _mask(document.pages)
            self.held[document.key] = _state(document.page_count, held)
            self.page_total += len(document.pages)
            self._close_failures(document.key, document.pages)
        for failed in part.failures:
            self._meet(failed.key)
            self.failing.setdefault(failed.key[0], set()).add(failed.key[1])
            pages = self.failed.setdefault(failed.key, {})
            pages[failed.page_index] = FailureState(failed.attempt, failed.retryable, failed.code, failed.stage)
            if failed.page_index is not None and None in pages and pages[None].attempt < failed.attempt:
                self.reopened[failed.key] = pages.pop(None).attempt
            if failed.page_count is not None and failed.key not in self.held:
                self.held[failed.key] = failed.page_count, 0

    def _close_failures(self, key: Key, indexes: Iterable[int]) -> None:
        pages = self.failed.get(key)
        if pages is None:
            return
        if None in pages:
            self.reopened[key] = pages.pop(None).attempt
        for index in indexes:
            pages.pop(index, None)
        if not pages:
            uri, etag = key
            del self.failed[key]
            self.failing[uri].remove(etag)
            if not self.failing[uri]:
                del self.failing[uri]

    def _meet(self, key: Key) -> None:
        # What is past is kept, and only not shown: which version is the last one is a guess where results come late,
        # and a failure forgotten by mistake would leave its page without an end.
        uri, etag = key
        self.past.update((uri, other) for other in self.failing.get(uri, ()) if other != etag)
        self.past.discard(key)
        container, is_member, _ = uri.partition("!/")
        if is_member and etag:  # it was listed; one that a manifest names has no etag where its container is broken
            self.past.update((container, other) for other in self.failing.get(container, ()))

    def _mask(self, key: Key) -> int:
        return self.held.get(key, (None, 0))[1]

    def check(self, record: Record) -> None:
        """Raises OutputInconsistentError where the record does not fit as the next one.

        A writer can't write such a record: it writes at n knowing 0 .. n-1. So whoever did was none of ours.
        """
        n = self.next
        if isinstance(record, Open):
            fits = record.epoch == n
        else:
            opened = self.opened.get(record.shard)
            fits = opened is not None and opened.epoch == record.epoch and record.shard not in self.closed
        match record:
            case Add():
                fits = fits and not any(self.names(part.path) for part in record.parts)
                fits = fits and all(a is b for a, b in zip(self.admit(record.parts), record.parts, strict=True))
            case Publish():
                fits = fits and record.path not in self.published
                fits = fits and self.staged.get(record.shard, {}).keys() >= set(record.replaces)
        if not fits:
            raise OutputInconsistentError(
                f"record {n} of the log ({type(record).__name__.upper()}, shard {record.shard}) "
                "contradicts the records before it",
                "Something else wrote into the output's _ocrbatch/log/; restore that folder from a backup.",
            )
