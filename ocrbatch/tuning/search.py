"""The fastest point of a grid, found in few measurements. Pure.

Coordinate descent from the point that counts without tuning: one dimension after the other, in the order given, each
candidate against the fastest point so far; at the end the fastest is measured again, in turns with the next if near.
Invariant: the point that is returned ran each time it was measured. Of a grid of LARGE points or more at most a fifth
as many measurements are taken as it has points; the same measurements lead to the same point.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from statistics import fmean
from typing import Final

from ocrbatch.errors import UsageError

Point = tuple[Hashable, ...]
"""A value for each dimension of a grid."""

LARGE: Final = 24  # points
SHARE: Final = 5  # a sweep's measurements for each of ours: some of them take longer than its mean
FINAL_TURNS: Final = 2
FINAL_GAP: Final = 0.9  # of the fastest: who is further behind is not measured again


@dataclass(frozen=True, slots=True)
class Dimension:
    """What is varied. start: place of the value that counts without tuning.

    ordered: the rate rises to one value and falls after it, so that who turns worse on one side need not go on there.
    """

    name: str
    values: tuple[Hashable, ...]
    start: int = 0
    ordered: bool = False


Grid = tuple[Dimension, ...]


@dataclass(frozen=True, slots=True)
class Infeasible:
    """What a point that does not run gives in place of a rate. reason: for people."""

    reason: str


Measure = Callable[[Point, float | None], float | Infeasible]
"""Pages a second of a point. The other argument is the rate to beat: a measurement may end early, below it, once it is
clearly behind."""
Needs = Callable[[Point, Point], bool]
"""Whether the first point needs at least as much of everything as the second, so that it can't run where that died."""


@dataclass(frozen=True, slots=True)
class Found:
    """The fastest point. rate, start_rate: means of its measurements, and of the start's (None: it does not run)."""

    point: Point
    rate: float
    start_rate: float | None
    left_out: int
    """Points that need as much as one that died, and were not tried for that."""


def size(grid: Grid) -> int:
    """Number of points."""
    return prod(len(dimension.values) for dimension in grid)


def points(grid: Grid) -> Iterator[Point]:
    """All of them."""
    return product(*(dimension.values for dimension in grid))


def start(grid: Grid) -> Point:
    """The point that counts without tuning."""
    return tuple(dimension.values[dimension.start] for dimension in grid)


def full_sweep(grid: Grid, measure: Measure) -> dict[Point, float | Infeasible]:
    """Measures every point, with nothing to beat."""
    return {point: measure(point, None) for point in points(grid)}


def search(grid: Grid, measure: Measure, needs: Needs = lambda point, dead: point == dead) -> Found:
    """Finds the fastest point. Raises UsageError where no point that was tried runs."""
    return _Search(grid, measure, needs).found()


class _Search:
    """rates: the measurements of each point that ran. dead: points that did not."""

    def __init__(self, grid: Grid, measure: Measure, needs: Needs) -> None:
        self._grid = grid
        self._measure = measure
        self._needs = needs
        self._rates: dict[Point, list[float]] = {}
        self._dead: dict[Point, str] = {}
        total = size(grid)
        self._left = total // SHARE if total >= LARGE else total + 2
        self._kept = min(2 * FINAL_TURNS, self._left // 4 // 2 * 2)  # for the final

    def found(self) -> Found:
        best = self._first()
        before = None
        while best != before:
            before = best
            for place, dimension in enumerate(self._grid):
                best = self._descend(best, place, dimension)
        self._final()
        if not self._rates:
            raise self._none_runs()
        best = self._order()[0]
        measured = self._rates.get(start(self._grid))
        tried = self._rates.keys() | self._dead.keys()
        left_out = sum(point not in tried and self._is_hopeless(point) for point in points(self._grid))
        return Found(best, fmean(self._rates[best]), fmean(measured) if measured else None, left_out)

    def _first(self) -> Point:
        """The start; where it dies, the first that runs of those that need the least."""
        tried = start(self._grid)
        while self._rate(tried) is None:
            left = [point for point in points(self._grid) if not self._is_hopeless(point)]
            if not left or self._left <= self._kept:
                raise self._none_runs()
            tried = next(p for p in left if all(self._needs(q, p) or not self._needs(p, q) for q in left))
        return tried

    def _descend(self, best: Point, place: int, dimension: Dimension) -> Point:
        """The fastest of the points that differ from `best` in this dimension alone, as far as it was looked for."""

        def beats(value: Hashable) -> bool:
            nonlocal best
            point = (*best[:place], value, *best[place + 1 :])
            known = fmean(self._rates[best])
            rate = self._rate(point, known)
            if rate is None or rate <= known:
                return False
            best = point
            return True

        if not dimension.ordered:
            for value in dimension.values:
                beats(value)
            return best
        here = dimension.values.index(best[place])
        for side in (dimension.values[here + 1 :], dimension.values[:here][::-1]):
            before = best
            for value in side:
                if not beats(value):
                    break
            if best != before:
                break
        return best

    def _final(self) -> None:
        """Measures the fastest again, in turns with the next where that is near, as often as there is room for.

        Who dies is out.
        """
        for _ in range(FINAL_TURNS):
            if self._left < 2 or not self._rates:
                return
            first = self._order()[0]
            self._take(first, None)
            rival = next((point for point in self._order() if point != first), None)
            if rival is None or (first in self._rates and self._mean(rival) < FINAL_GAP * self._mean(first)):
                return
            self._take(rival, None)

    def _order(self) -> list[Point]:
        return sorted(self._rates, key=self._mean, reverse=True)

    def _none_runs(self) -> UsageError:
        return UsageError(
            f"none of {len(self._dead)} settings runs here; of the last, {list(self._dead.values())[-1]}",
            "Give the machine or the container more memory, or take another sample.",
        )

    def _mean(self, point: Point) -> float:
        return fmean(self._rates[point])

    def _rate(self, point: Point, incumbent: float | None = None) -> float | None:
        """A point's, measured where that was not done yet; None where it doesn't run, or there is no room for it."""
        if point not in self._rates and not self._is_hopeless(point) and self._left > self._kept:
            self._take(point, incumbent)
        return self._mean(point) if point in self._rates else None

    def _take(self, point: Point, incumbent: float | None) -> None:
        self._left -= 1
        rate = self._measure(point, incumbent)
        if isinstance(rate, Infeasible):
            self._dead[point] = rate.reason
            self._rates.pop(point, None)
        else:
            self._rates.setdefault(point, []).append(rate)

    def _is_hopeless(self, point: Point) -> bool:
        return point in self._dead or any(self._needs(point, dead) for dead in self._dead)
