"""Rows that travel as one, between two stages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.stages import batches
from ocrbatch.stages.base import binary_column, bytes_at
from ocrbatch.stages.batches import gathered, packed, unpacked

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=20)


def page(number: int, size: int, **more: int) -> pa.Table:
    pixels = np.full(size, number, np.uint8)
    return pa.table({"number": [number], **{name: [value] for name, value in more.items()}}).append_column(
        "image", binary_column([pixels])
    )


@given(SIZES, st.integers(1, 6))
def test_all_rows_come_out_in_order_in_batches_within_bounds(sizes: list[int], most: int) -> None:
    pages = [page(number, size) for number, size in enumerate(sizes)]
    found = list(map(packed, gathered(pages, most)))
    assert all(len(batch) == 1 for batch in found), "one row is one block"
    whole = pa.concat_tables(found)
    assert unpacked(whole).to_pylist() == pa.concat_tables(pages).to_pylist()
    assert unpacked(whole.slice(len(found) - 1)).to_pylist() == unpacked(found[-1]).to_pylist()
    lengths = [len(unpacked(batch)) for batch in found]
    assert max(lengths) <= most and all(length == most for length in lengths[:-1])


def test_a_batch_is_bounded_by_its_bytes(monkeypatch) -> None:
    monkeypatch.setattr(batches, "BYTES", 100)
    found = [len(rows) for rows in gathered([page(n, size) for n, size in enumerate((30, 30, 500, 9))], 8)]
    assert found == [2, 1, 1]


def test_a_row_that_lacks_a_column_has_nothing_there() -> None:
    """The one that ends a run knows nothing of a manifest's columns."""
    (rows,) = gathered([page(0, 3, shelf=7), page(1, 3)], 8)
    assert rows["shelf"].to_pylist() == [7, None]


def test_pixels_are_not_copied_on_the_way_out() -> None:
    batch = packed(pa.concat_tables([page(1, 5), page(2, 5)]))
    (once, again) = (bytes_at(unpacked(batch)["image"], 1) for _ in range(2))
    assert once.tolist() == [2] * 5
    assert once.ctypes.data == again.ctypes.data
