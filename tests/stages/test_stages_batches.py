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
from ocrbatch.stages.batches import GROWN, LIST_SHARE, SECONDS, TASK_SHARE, gathered, packed, unpacked

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
    found = [packed(pa.concat_tables(batch)) for batch in gathered(pages, most)]
    assert all(len(batch) == 1 for batch in found), "one row is one block"
    whole = pa.concat_tables(found)
    assert unpacked(whole).to_pylist() == pa.concat_tables(pages).to_pylist()
    assert unpacked(whole.slice(len(found) - 1)).to_pylist() == unpacked(found[-1]).to_pylist()
    lengths = [len(unpacked(batch)) for batch in found]
    assert max(lengths) <= most and all(length == most for length in lengths[:-1])


def test_a_batch_is_bounded_by_its_bytes(monkeypatch) -> None:
    monkeypatch.setattr(batches, "BYTES", 100)
    assert sizes_of(gathered(map(Item, (30, 30, 500, 9)), 8)) == [2, 1, 1]


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_batch_that_grows_stays_a_share_of_what_comes_before_it(before: int, pages: int) -> None:
    given_before, sizes = 0, sizes_of(gathered([Item()] * pages, 2, before, Clock()))
    assert sum(sizes) == pages
    for size in sizes:
        bound = before / LIST_SHARE + given_before / TASK_SHARE
        assert size <= max(2, min(2 * GROWN, bound))
        given_before += size
    assert all(size == 2 for size in sizes_of(gathered([Item()] * pages, 2))[:-1]), "none grows where none may"


def test_late_in_a_long_list_batches_are_large() -> None:
    assert sizes_of(gathered([Item()] * 100, 2, 2 * GROWN * LIST_SHARE, Clock())) == [32, 32, 32, 4]


def test_a_batch_grows_by_small_pages_alone(monkeypatch) -> None:
    monkeypatch.setattr(batches, "GROWN_BYTES", 100)
    assert sizes_of(gathered([Item(30)] * 10, 2, 10_000, Clock())) == [3, 3, 3, 1]
    assert sizes_of(gathered([Item(300)] * 6, 2, 10_000, Clock())) == [2, 2, 2], "as many as without growth"


def test_nobody_waits_long_for_a_batch_to_grow() -> None:
    assert sizes_of(gathered([Item()] * 6, 2, 10_000, Clock(step=SECONDS))) == [2, 2, 2]
    slow = Clock()
    found = gathered([Item()] * 64, 2, 10_000, slow)
    assert len(next(found)) == 32
    slow.now += 10 * SECONDS
    assert len(next(found)) == 32, "the time that it takes to hand one on is none that the next one waits"


def test_pixels_are_not_copied_on_the_way_out() -> None:
    batch = packed(pa.concat_tables([page(1, 5), page(2, 5)]))
    (once, again) = (bytes_at(unpacked(batch)["image"], 1) for _ in range(2))
    assert once.tolist() == [2] * 5
    assert once.ctypes.data == again.ctypes.data
