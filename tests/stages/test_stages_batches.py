"""Rows that travel as one, between two stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.stages import batches
from ocrbatch.stages.base import binary_column, bytes_at
from ocrbatch.stages.batches import GROWN, SHARE, Gatherer, packed, unpacked

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=20)


def page(number: int, size: int, **more: int) -> pa.Table:
    pixels = np.full(size, number, np.uint8)
    return pa.table({"number": [number], **{name: [value] for name, value in more.items()}}).append_column(
        "image", binary_column([pixels])
    )


@dataclass(frozen=True)
class Item:
    """Stands for a page of so many bytes."""

    nbytes: int = 0


def sizes_of(batches: Iterable[Sequence[object]]) -> list[int]:
    return [len(batch) for batch in batches]


class Clock:
    """Goes on by so many seconds each time it is looked at."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@given(SIZES, st.integers(1, 6))
def test_all_rows_come_out_in_order_in_batches_within_bounds(sizes: list[int], most: int) -> None:
    pages = [page(number, size) for number, size in enumerate(sizes)]
    found = [packed(pa.concat_tables(batch)) for batch in Gatherer(most).gathered(pages)]
    assert all(len(batch) == 1 for batch in found), "one row is one block"
    whole = pa.concat_tables(found)
    assert unpacked(whole).to_pylist() == pa.concat_tables(pages).to_pylist()
    assert unpacked(whole.slice(len(found) - 1)).to_pylist() == unpacked(found[-1]).to_pylist()
    lengths = [len(unpacked(batch)) for batch in found]
    assert max(lengths) <= most and all(length == most for length in lengths[:-1])


def test_a_batch_is_bounded_by_its_bytes(monkeypatch) -> None:
    monkeypatch.setattr(batches, "BYTES", 100)
    assert sizes_of(Gatherer(8).gathered(map(Item, (30, 30, 500, 9)))) == [2, 1, 1]


def test_quick_small_pages_are_put_together_by_more_the_more_there_were() -> None:
    """Never more than a share of what went before, so that what is lost with a batch is a share of it, too."""
    gatherer, given_before = Gatherer(2, clock=Clock()), 0
    for number in range(40):  # tasks of 1,000 pages each
        found = sizes_of(gatherer.gathered([Item()] * 1000))
        assert sum(found) == 1000
        for size in found:
            assert size <= max(2, given_before // SHARE)
            given_before += size
        if number == 0:
            assert set(found[:SHARE]) == {2}
    assert max(found) == 2 * GROWN
    assert len(found) == -(-1000 // (2 * GROWN))


def test_a_batch_grows_by_small_pages_alone(monkeypatch) -> None:
    monkeypatch.setattr(batches, "SHARE", 1)
    monkeypatch.setattr(batches, "GROWN_BYTES", 100)
    gatherer = Gatherer(2, clock=Clock())
    assert max(sizes_of(gatherer.gathered([Item()] * 100))) == 2 * GROWN
    assert sizes_of(gatherer.gathered([Item(30)] * 10)) == [3, 3, 3, 1]
    assert sizes_of(gatherer.gathered([Item(300)] * 6)) == [2, 2, 2], "as many as without growth"


def test_nobody_waits_for_a_batch_to_grow(monkeypatch) -> None:
    monkeypatch.setattr(batches, "SHARE", 1)
    clock = Clock()
    gatherer = Gatherer(2, clock=clock)
    assert max(sizes_of(gatherer.gathered([Item()] * 100))) == 2 * GROWN
    clock.step = batches.SECONDS
    assert sizes_of(gatherer.gathered([Item()] * 6)) == [2, 2, 2]


def test_a_page_that_is_to_be_alone_stays_alone() -> None:
    assert set(sizes_of(Gatherer(1, grown=1, clock=Clock()).gathered([Item()] * 2000))) == {1}


def test_pixels_are_not_copied_on_the_way_out() -> None:
    batch = packed(pa.concat_tables([page(1, 5), page(2, 5)]))
    (once, again) = (bytes_at(unpacked(batch)["image"], 1) for _ in range(2))
    assert once.tolist() == [2] * 5
    assert once.ctypes.data == again.ctypes.data
