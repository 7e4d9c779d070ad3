"""Calls on lanes: every result in its place, bounds kept, and nothing left running."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.engines.lanes import AHEAD, side_by_side
from ocrbatch.records import Pixels

LANES = 2


class Machine:
    """Runs calls that give their own first pixel, for as many units of time as the second one says."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2 * LANES)  # more than are allowed, so that too many would show
        self.running: list[tuple[int, ...]] = []
        self.most = 0
        self.lock = threading.Lock()

    def start(self, pixels: Pixels) -> Future[int]:
        return self.pool.submit(self._run, pixels)

    def _run(self, pixels: Pixels) -> int:
        name, units = pixels[0, 0, 0, :2].tolist()
        with self.lock:
            assert pixels.shape not in self.running
            self.running.append(pixels.shape)
            self.most = max(self.most, len(self.running))
        time.sleep(units * 2e-4)
        with self.lock:
            self.running.remove(pixels.shape)
        if name == 255:
            raise RuntimeError("told to fail")
        return int(name)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    found = Machine()
    yield found
    found.pool.shutdown()


def call(name: int, units: int = 1, width: int = 8) -> Pixels:
    pixels = np.zeros((1, 1, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = name, units
    return pixels


calls = st.tuples(st.integers(0, 254), st.integers(0, 5), st.integers(1, 4))


@settings(deadline=None, max_examples=50)
@given(batches=st.lists(st.lists(calls, min_size=1, max_size=5), max_size=12))
def test_each_result_is_in_its_place(machine: Machine, batches: list[list[tuple[int, int, int]]]) -> None:
    machine.most = 0
    found = list(side_by_side([[call(*one) for one in batch] for batch in batches], machine.start, LANES))
    assert found == [[name for name, *_ in batch] for batch in batches]
    assert machine.most <= LANES and not machine.running


def test_calls_of_two_shapes_run_at_once(machine: Machine) -> None:
    both = threading.Barrier(2)
    results = side_by_side(
        [[call(1, width=8)], [call(2, width=16)]], lambda _: machine.pool.submit(both.wait, timeout=30), LANES
    )
    assert sorted(place for batch in results for place in batch) == [0, 1]


def test_calls_of_one_shape_run_at_once_where_they_may(machine: Machine) -> None:
    both = threading.Barrier(2)
    batches = [[call(1), call(2)]]
    (found,) = side_by_side(batches, lambda _: machine.pool.submit(both.wait, timeout=30), LANES, alike=True)
    assert sorted(found) == [0, 1]


def test_no_more_batches_are_taken_than_are_asked_for(machine: Machine) -> None:
    taken = []

    def batches() -> Iterator[list[Pixels]]:
        for name in range(20):
            taken.append(name)
            yield [call(name, 0, 1 + name)]

    for name, found in enumerate(side_by_side(batches(), machine.start, LANES, ahead=3)):
        assert found == [name]
        assert len(taken) <= name + 3


def test_the_next_call_starts_before_a_result_goes_out(machine: Machine) -> None:
    started = []

    def start(pixels: Pixels) -> Future[int]:
        started.append(int(pixels[0, 0, 0, 0]))
        return machine.start(pixels)

    batches = [[call(name, 0, 1 + name)] for name in range(9)]
    for name, _ in enumerate(side_by_side(batches, start, 1, ahead=2)):
        assert started == list(range(min(name + 2, 9)))


def test_batches_are_taken_as_they_are_needed(machine: Machine) -> None:
    taken = []

    def batches() -> Iterator[list[Pixels]]:
        for name in range(40):
            taken.append(name)
            yield [call(name, 0, 1 + name % 3)]

    for name, found in enumerate(side_by_side(batches(), machine.start, LANES)):
        assert found == [name]
        assert len(taken) <= name + 1 + AHEAD


def test_a_failure_is_raised_once_nothing_runs(machine: Machine) -> None:
    batches = [[call(255, 0, 8)], [call(1, 50, 16)], [call(2, 50, 24)]]
    with pytest.raises(RuntimeError, match="told to fail"):
        list(side_by_side(batches, machine.start, LANES))
    assert not machine.running


def test_an_iterator_that_is_closed_early_leaves_nothing_running(machine: Machine) -> None:
    results = side_by_side([[call(1, 0, 8)], [call(2, 50, 16)], [call(3, 50, 8)]], machine.start, LANES)
    assert next(results) == [1]
    results.close()  # type: ignore[attr-defined]
    assert not machine.running
