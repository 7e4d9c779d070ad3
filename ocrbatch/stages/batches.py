"""Batches between two stages: rows that travel as one.

Ray Data cuts and joins blocks by their bytes, and knows no pages. A batch is one row to it, and one row is one block:
what a stage takes at once is what the decoder put together, what a worker that dies takes along, and what waits before
a stage is counted in these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from ocrbatch.stages.spans import SPAN, Span

BATCH: Final = "batch"
SPANS: Final = "spans"
BYTES: Final = 64 << 20  # pixels of a batch, if it is more than one page: five pages of A4 at 200 dpi


def packed(rows: pa.Table, spans: Sequence[Span] = ()) -> pa.Table:
    """The rows as one, which holds the list of them, and where their time went so far."""
    struct = rows.combine_chunks().to_struct_array().chunk(0)
    told = pa.array([[span.to_json() for span in spans]], pa.list_(SPAN))
    return pa.table({BATCH: pa.LargeListArray.from_arrays([0, len(struct)], struct), SPANS: told})


def unpacked(batch: pa.Table) -> pa.Table:
    """The rows of `packed`, without a copy; of several batches, all their rows."""
    return pa.concat_tables(pa.Table.from_struct_array(chunk.flatten()) for chunk in batch[BATCH].chunks)


def spans_of(batch: pa.Table) -> list[Span]:
    """The spans of `packed`; of several batches, all of them."""
    return [Span.from_json(tree) for spans in batch[SPANS].to_pylist() for tree in spans]


def gathered(pages: Iterable[pa.Table], most: int) -> Iterator[pa.Table]:
    """Tables of one row each, put together: at most so many in one, and BYTES."""
    waiting: list[pa.Table] = []
    size = 0
    for page in pages:
        if waiting and (len(waiting) == most or size + page.nbytes > BYTES):
            yield pa.concat_tables(waiting, promote_options="default")
            waiting, size = [], 0
        waiting.append(page)
        size += page.nbytes
    if waiting:
        yield pa.concat_tables(waiting, promote_options="default")
