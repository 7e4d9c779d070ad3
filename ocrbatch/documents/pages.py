"""From a local file to its pages, one at a time: which pages are asked for, and what becomes of each.

Invariant: every page that the selection names and `skip` does not comes out once, as a Page or as a PageFailure; a
document that can't be opened is one PageFailure without an index.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ocrbatch.documents.sandbox import Opened, Sandbox
from ocrbatch.errors import DocumentError, UsageError
from ocrbatch.records import Page

MAX_LOSSES: Final = 3
"""After so many pages in a row that cost the child its life, the rest of the document fails unseen: a hostile file of
5,000 pages must not take 5,000 time limits."""

_LOSSES: Final = frozenset({"DECODE_TIMEOUT", "DECODE_MEMORY", "DECODE_KILLED", "DECODE_CRASHED"})
_RANGE: Final = re.compile(r"(?P<first>\d*)\s*(?P<dash>-?)\s*(?P<last>\d*)")


@dataclass(frozen=True, slots=True)
class PageSelection:
    """Pages by number. ranges: (first, last) from 0, both included, last None for the end; no range at all for all."""

    ranges: tuple[tuple[int, int | None], ...] = ()

    def indexes(self, count: int) -> Sequence[int]:
        """The selected pages of a document of `count` pages, from 0, ascending, each once."""
        if not self.ranges:
            return range(count)
        spans = [range(first, count if last is None else min(last + 1, count)) for first, last in self.ranges]
        return spans[0] if len(spans) == 1 else sorted({index for span in spans for index in span})

    def expected(self, count: int) -> Sequence[int]:
        """The pages that a document of `count` pages ends with: an image of one page is read whatever is selected."""
        return range(1) if count == 1 else self.indexes(count)


ALL_PAGES: Final = PageSelection()


def parse_pages(text: str) -> PageSelection:
    """Reads `documents.pages`: numbers and ranges counted from 1, as `1-3,7,10-`; empty for all.

    Raises UsageError that quotes the part which can't be read.
    """
    if not text.strip():
        return ALL_PAGES
    return PageSelection(tuple(_range(part.strip()) for part in text.split(",")))


def _range(part: str) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(part)
    if match is None or not (match["first"] or match["last"]) or len(part) > 20:
        raise _wrong(part, "is not a page number or a range")
    first = int(match["first"] or 1)
    last = int(match["last"]) if match["last"] else None if match["dash"] else first
    if first < 1 or last == 0:
        raise _wrong(part, "asks for page 0; pages count from 1")
    if last is not None and last < first:
        raise _wrong(part, "runs backwards")
    return first - 1, None if last is None else last - 1


def _wrong(part: str, why: str) -> UsageError:
    return UsageError(f"documents.pages: {part!r} {why}", "Write it like 1-3,7,10-")


@dataclass(frozen=True, slots=True)
class PageFailure:
    """A page that can't be read, or with page_index None a whole document; page_count None where it isn't known."""

    page_index: int | None
    page_count: int | None
    error: DocumentError


def iter_pages(
    sandbox: Sandbox,
    path: Path,
    *,
    selection: PageSelection = ALL_PAGES,
    passwords: Sequence[str] = (),
    skip: Container[int] = (),
) -> Iterator[Page | PageFailure]:
    """Decodes a local file page by page; only the page in hand is in memory.

    selection applies to PDFs and to images of several pages; an image of one page is always read. skip: pages (from 0)
    that are not wanted, because they are done. Bounded in time: each page has its limit, and after MAX_LOSSES pages in
    a row that time out, crash or exhaust the decoder the others fail at once, with the same code.
    """
    try:
        opened = sandbox.open(path, passwords)
    except DocumentError as error:
        yield PageFailure(None, None, error)
        return
    count = opened.page_count
    indexes = _selected(opened, selection)
    if not indexes:
        message = f"documents.pages selects none of the document's {count} page{'s' if count > 1 else ''}."
        yield PageFailure(None, count, DocumentError("PAGES_EMPTY", message))
        return
    losses = 0
    given_up: DocumentError | None = None
    for index in indexes:
        if index in skip:
            continue
        if given_up is not None:
            yield PageFailure(index, count, given_up)
            continue
        try:
            page = sandbox.page(index)
        except DocumentError as error:
            losses = losses + 1 if error.code.code in _LOSSES else 0
            if losses >= MAX_LOSSES:
                message = f"Not tried, because {losses} pages before it failed like this one after another: {error}"
                given_up = DocumentError(error.code.code, message, error.remedy)
            yield PageFailure(index, count, error)
        else:
            losses = 0
            yield page
            del page  # or the generator would keep it while the next one is decoded


def _selected(opened: Opened, selection: PageSelection) -> Sequence[int]:
    if opened.kind == "image" and opened.page_count == 1:
        return range(1)
    return selection.indexes(opened.page_count)
