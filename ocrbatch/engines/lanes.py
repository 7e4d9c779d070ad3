"""The calls of several batches on a few lanes at once.

Invariant: results come batch by batch in the order of the batches, and each call's in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import Final, Generic, TypeVar

from ocrbatch.records import Pixels

T = TypeVar("T")
Shape = tuple[int, ...]

# Batches that are held at most: enough for calls of two shapes, and few megabytes.
AHEAD: Final = 8


class _Batch(Generic[T]):
    """The calls of a batch that haven't been started, and what the others gave."""

    def __init__(self, calls: Sequence[Pixels]) -> None:
        self.left = deque(enumerate(calls))
        self.found: dict[int, T] = {}
        self.size = len(calls)


def side_by_side(
    batches: Iterable[Sequence[Pixels]],
    start: Callable[[Pixels], Future[T]],
    lanes: int,
    *,
    alike: bool = False,
    ahead: int = AHEAD,
) -> Generator[list[T]]:
    """Starts the calls of the batches, so many at once, and yields each batch's results.

    alike: whether calls of one shape may run beside each other. Batches are taken as they are needed, at most `ahead`
    of them. A call's exception is raised here, once no other call runs; so too when the generator is closed early.
    """
    source = map(_Batch[T], batches)
    held: deque[_Batch[T]] = deque()
    running: dict[Future[T], tuple[_Batch[T], int, Shape]] = {}
    try:
        while True:
            held.extend(islice(source, ahead - len(held)))
            if not held:
                return
            while len(running) < lanes and (batch := _startable(held, () if alike else running.values())):
                place, pixels = batch.left.popleft()
                running[start(pixels)] = batch, place, pixels.shape
            if len(held[0].found) == held[0].size:
                yield [found for _, found in sorted(held.popleft().found.items())]
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch, place, _ = running.pop(future)
                batch.found[place] = future.result()
    finally:
        wait(running)


def _startable(held: Iterable[_Batch[T]], apart: Iterable[tuple[_Batch[T], int, Shape]]) -> _Batch[T] | None:
    """The first batch whose next call is of a shape that none of these has."""
    busy = {shape for _, _, shape in apart}
    return next((batch for batch in held if batch.left and batch.left[0][1].shape not in busy), None)
