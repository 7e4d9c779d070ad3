"""When a run that loses batches with its workers fails everywhere."""

import pytest

from ocrbatch.pipeline.patience import LEAST_LOST, Patience, patience


class Executor:
    """As much of Ray Data's as counts."""

    def __init__(self) -> None:
        self._num_errored_blocks, self._max_errored_blocks = 0, LEAST_LOST

    def step(self, lost: int) -> bool:
        """Loses so many batches; whether the pass goes on."""
        self._num_errored_blocks += lost
        self._max_errored_blocks -= lost
        if self._max_errored_blocks < 0:
            return False
        Patience().on_execution_step(self)
        return True


@pytest.fixture
def home():
    return [0]


def lost_in_a_row(home, *, again=False, limit=1.0, most=1000):
    executor = Executor()
    with patience(lambda: home[0], limit, again=again):
        return next((lost for lost in range(most) if not executor.step(1)), most)


def test_a_hundred_in_a_row_end_a_pass_whatever_came_home_before(home):
    assert lost_in_a_row(home) == LEAST_LOST
    home[0] = 10
    assert lost_in_a_row(home) == LEAST_LOST


def test_where_others_come_home_any_number_may_be_lost(home):
    executor = Executor()
    with patience(lambda: home[0], 1.0, again=False):
        for _ in range(50):
            home[0] += 1
            assert executor.step(60)


def test_what_was_lost_before_is_tried_again_where_the_run_brought_anything_home(home):
    assert lost_in_a_row(home, again=True) == LEAST_LOST
    home[0] = 1
    assert lost_in_a_row(home, again=True) == 1000


def test_above_one_nothing_ends_a_pass(home):
    assert lost_in_a_row(home, limit=1.1) == 1000


def test_a_share_of_them_is_a_bound_too(home):
    executor = Executor()
    with patience(lambda: home[0], 0.5, again=False):
        steps = 0
        while executor.step(2):
            home[0] += 1
            steps += 1
            assert steps < 1000
    assert steps == LEAST_LOST // 2


def test_nobody_judges_outside_of_a_pass():
    with patience(lambda: 1, 1.0, again=False):
        pass
    assert Patience.judge is None
