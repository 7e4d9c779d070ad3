"""Batches between two stages: rows that travel as one.

Ray Data cuts and joins blocks by their bytes, and knows no pages. A batch is one row to it, and one row is one block:
what a stage takes at once is what the decoder put together, what a worker that dies takes along, and what waits before
a stage is counted in these.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ocrbatch.stages.spans import Span

BATCH: Final = "batch"
SPANS: Final = "spans"
BYTES: Final = 64 << 20  # pixels of a batch, if it is more than one page: five pages of A4 at 200 dpi
# Bounds of a batch that grows, see `Gatherer`.
GROWN: Final = 16
GROWN_BYTES: Final = 8 << 20  # of pixels: fewer than one page of A4 at 200 dpi has
SHARE: Final = 128
SECONDS: Final = 0.2


def packed(rows: pa.Table, spans: Sequence[Span] = ()) -> pa.Table:
    """The rows as one: blobs (large_binary) as lists of them, and all else as one Arrow stream in the column BATCH.

    spans: where the time of these rows went so far, as JSON in the column SPANS.

    Ray takes each array of a nested column by itself: of 8 pages' rows 0.8 ms to hand over and take, of lines 1.4; of
    these 0.2 and 0.1.
    """
    blobs = [field.name for field in rows.schema if pa.types.is_large_binary(field.type)]
    head, sink = rows.drop_columns(blobs).combine_chunks(), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, head.schema) as stream:
        stream.write_table(head)
    body = sink.getvalue()
    ends = pa.py_buffer(np.array([0, body.size], np.int64))
    columns = {
        BATCH: pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, body]),
        SPANS: pa.array([json.dumps([span.to_json() for span in spans])]),
    }
    for name in blobs:
        chunks = rows[name].chunks
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        columns[name] = pa.LargeListArray.from_arrays([0, len(column)], column)
    return pa.table(columns)


def unpacked(batch: pa.Table) -> pa.Table:
    """The rows of `packed`, without a copy, blobs last; of several batches, all their rows."""
    return pa.concat_tables(map(_one_unpacked, batch.to_batches(max_chunksize=1)), promote_options="default")


def spans_of(batch: pa.Table) -> list[Span]:
    """The spans of `packed`; of several batches, all of them."""
    return [Span.from_json(tree) for told in batch[SPANS].to_pylist() for tree in json.loads(told)]


def _one_unpacked(batch: pa.RecordBatch) -> pa.Table:
    cell = batch.column(BATCH)
    _, ends, data = cell.buffers()
    start, end = np.frombuffer(ends, np.int64)[cell.offset : cell.offset + 2]
    rows = pa.ipc.open_stream(data.slice(start, end - start)).read_all()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in {BATCH, SPANS}:
            rows = rows.append_column(name, column.flatten())
    return rows


class Page(Protocol):
    """What is put together: one page's row, or one failure's."""

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels."""


Item = TypeVar("Item", bound=Page)


class Gatherer:
    """Puts the pages of one decode worker together, as they come.

    A batch is of `most` pages, and of BYTES. Where many small pages come quickly it grows, for Ray's cost is one of
    batches, not of pages: to `grown` times as many at most, as long as they have no more than GROWN_BYTES, come within
    SECONDS of the batch before, and are no more than a SHARE-th of all that the worker has handed on. So a short run
    has batches of `most` only; what dies with a batch takes no longer to read again than `most` pages that are large;
    and nobody waits for a batch to fill. Where those behind are slow, each batch waits longer than that to be taken.
    """

    def __init__(self, most: int, grown: int = GROWN, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._grown = grown
        self._clock = clock
        self._given = 0

    def gathered(self, pages: Iterable[Item]) -> Iterator[list[Item]]:
        """The pages in batches, none of them empty; the last one as soon as there are no more."""
        waiting: list[Item] = []
        size, since = 0, self._clock()
        for page in pages:
            if waiting and size + page.nbytes > self._room(len(waiting)):
                since = self._handed_on(waiting)
                yield waiting
                waiting, size = [], 0
            waiting.append(page)
            size += page.nbytes
            if len(waiting) >= self._limit(since):
                since = self._handed_on(waiting)
                yield waiting
                waiting, size = [], 0
        if waiting:
            self._handed_on(waiting)
            yield waiting

    def _room(self, count: int) -> int:
        """Bytes for so many pages and one more."""
        return BYTES if count < self._most else GROWN_BYTES

    def _limit(self, since: float) -> int:
        """Pages of a batch, where the one before was handed on at that time."""
        if self._clock() - since >= SECONDS:
            return self._most
        return max(self._most, min(self._most * self._grown, self._given // SHARE))

    def _handed_on(self, batch: list[Item]) -> float:
        self._given += len(batch)
        return self._clock()
