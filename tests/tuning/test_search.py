"""The search over settings, on landscapes that are known."""

from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocrbatch.errors import UsageError
from ocrbatch.tuning.search import (
    LARGE,
    Dimension,
    Infeasible,
    full_sweep,
    points,
    search,
    size,
    start,
)


class Landscape:
    """Rates of points: a factor for each value. dead: points that don't run. probes: what was asked, in order."""

    def __init__(self, factors, dead=lambda point: False, noise=lambda number: 1.0):
        self.factors, self.dead, self.noise = factors, dead, noise
        self.probes = []

    def rate(self, point):
        return prod(factors[value] for factors, value in zip(self.factors, point, strict=True))

    def __call__(self, point, incumbent):
        self.probes.append(point)
        if self.dead(point):
            return Infeasible("out of memory")
        rate = self.rate(point) * self.noise(len(self.probes))
        return 0.9 * rate if incumbent and rate < 0.8 * incumbent else rate  # given up early, and so less exact


factor = st.floats(0.1, 10)


@st.composite
def landscapes(draw):
    """A grid whose values are 0, 1, 2 ..., and factors for them: any, or with one summit where it is ordered."""
    grid, factors = [], []
    for number in range(draw(st.integers(1, 4))):
        count, ordered = draw(st.integers(2, 6)), draw(st.booleans())
        drawn = draw(st.lists(factor, min_size=count, max_size=count, unique=True))
        if ordered:
            summit = draw(st.integers(0, count - 1))
            falling = sorted(drawn, reverse=True)
            drawn = [*falling[1 : summit + 1][::-1], falling[0], *falling[summit + 1 :]]
        first = draw(st.integers(0, count - 1))
        grid.append(Dimension(str(number), tuple(range(count)), first, ordered))
        factors.append(dict(enumerate(drawn)))
    return tuple(grid), factors


def at_least(point, other):
    return all(one >= another for one, another in zip(point, other, strict=True))


@given(landscapes())
def test_on_separable_landscapes_the_choice_is_within_5_percent_of_the_best(drawn):
    grid, factors = drawn
    assume(size(grid) < LARGE or size(grid) // 5 >= 5 + sum(len(d.values) - 1 for d in grid))
    landscape = Landscape(factors)
    found = search(grid, landscape)
    assert landscape.rate(found.point) >= 0.95 * max(landscape.rate(point) for point in points(grid))


@given(landscapes(), st.randoms(use_true_random=False), st.integers(0, 6))
def test_no_more_probes_than_a_fifth_of_a_large_grid_whatever_it_is_like(drawn, random, least):
    grid, factors = drawn
    assume(size(grid) >= LARGE)
    landscape = Landscape(factors, lambda point: sum(point) > least, lambda _: random.uniform(0.5, 1.5))
    try:
        search(grid, landscape, at_least)
    except UsageError:
        assert all(landscape.dead(point) for point in landscape.probes)
    assert len(landscape.probes) <= size(grid) // 5


@given(landscapes(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_what_does_not_run_is_never_the_choice_nor_what_needs_more_tried(drawn, most, random):
    grid, factors = drawn
    landscape = Landscape(factors, lambda point: sum(point) > most, lambda _: random.uniform(0.8, 1.2))
    found = search(grid, landscape, at_least)
    assert not landscape.dead(found.point)
    died = []
    for point in landscape.probes:
        assert not any(at_least(point, other) for other in died)
        if landscape.dead(point):
            died.append(point)


@given(landscapes(), st.integers(0, 3))
def test_equal_measurements_lead_to_equal_choices(drawn, most):
    grid, factors = drawn
    first, second = (Landscape(factors, lambda point: sum(point) > most) for _ in range(2))
    assert search(grid, first, at_least) == search(grid, second, at_least)
    assert first.probes == second.probes


@given(landscapes())
def test_a_point_is_measured_again_in_the_final_only(drawn):
    grid, factors = drawn
    landscape = Landscape(factors)
    found = search(grid, landscape)
    again = [point for number, point in enumerate(landscape.probes) if point in landscape.probes[:number]]
    assert landscape.probes[len(landscape.probes) - len(again) :] == again
    assert len(again) <= 4
    if again:
        assert again[0] == found.point


STEEP = (
    Dimension("workers", (1, 2, 3, 4), start=3, ordered=True),
    Dimension("batch", (1, 2, 3), start=2, ordered=True),
)


def test_where_the_start_dies_the_search_begins_with_what_needs_the_least():
    landscape = Landscape([{1: 1, 2: 2, 3: 3, 4: 4}, {1: 1, 2: 2, 3: 3}], lambda point: point[0] * point[1] > 4)
    found = search(STEEP, landscape, at_least)
    assert landscape.probes[:2] == [(4, 3), (1, 1)]
    assert landscape.rate(found.point) == 4, "as much as there is memory for"
    assert found.start_rate is None


def test_points_that_were_left_out_for_want_of_memory_are_counted():
    grid = tuple(replace(dimension, start=0) for dimension in STEEP)
    landscape = Landscape([{1: 1, 2: 2, 3: 3, 4: 4}, {1: 1, 2: 2, 3: 3}], lambda point: point[0] > 2)
    found = search(grid, landscape, at_least)
    assert (found.point, found.left_out) == ((2, 3), 5)
    assert landscape.probes.count((3, 1)) == 1, "the others with three workers, or four, need as much"
    assert found.start_rate == 1


def test_where_nothing_runs_the_last_reason_is_told():
    with pytest.raises(UsageError, match="none of 2 settings runs here; of the last, out of memory"):
        search(STEEP, Landscape([], lambda point: True), at_least)


def test_a_lucky_measurement_does_not_decide():
    grid = (Dimension("pools", ("slow", "fast")),)
    lucky = {1: 3.0}  # the first probe, of the start
    landscape = Landscape([{"slow": 1.0, "fast": 2.8}], noise=lambda number: lucky.get(number, 1.0))
    found = search(grid, landscape)
    assert found.point == ("fast",)
    assert found.start_rate < 3


def test_who_dies_in_the_final_is_out():
    grid = (Dimension("pools", ("small", "large")),)
    landscape = Landscape([{"small": 1.0, "large": 1.01}])
    landscape.dead = lambda point: point == ("large",) and len(landscape.probes) > 2
    assert search(grid, landscape).point == ("small",)


def test_on_one_side_of_a_summit_the_other_is_not_climbed():
    grid = (Dimension("batch", tuple(range(9)), start=4, ordered=True),)
    landscape = Landscape([{n: 10.0 - abs(6 - n) * 2 for n in range(9)}])
    assert search(grid, landscape).point == (6,)
    assert landscape.probes[:4] == [(4,), (5,), (6,), (7,)]


def test_the_rate_to_beat_is_that_of_the_fastest_so_far():
    asked = {}

    def measure(point, incumbent):
        asked.setdefault(point, incumbent)
        return float(point[0])

    search((Dimension("pools", (1, 5, 2, 3)),), measure)
    assert asked == {(1,): None, (5,): 1.0, (2,): 5.0, (3,): 5.0}


def test_a_full_sweep_measures_every_point_once_with_nothing_to_beat():
    landscape = Landscape([{1: 1, 2: 2, 3: 3, 4: 4}, {1: 1, 2: 2, 3: 3}], lambda point: point == (4, 3))
    swept = full_sweep(STEEP, landscape)
    assert sorted(landscape.probes) == sorted(swept) == sorted(points(STEEP))
    assert swept[4, 3] == Infeasible("out of memory")
    assert swept[3, 2] == 6


def test_the_start_is_named_by_its_places():
    assert start(tuple(replace(dimension, start=0) for dimension in STEEP)) == (1, 1)
