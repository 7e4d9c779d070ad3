"""When a run that loses batches with its workers fails everywhere."""

import pytest

from ocrbatch.pipeline.patience import goes_on


@pytest.mark.parametrize(
    ("lost", "home", "limit", "on"),
    [
        (100, 0, 1.0, False),
        (100_000, 1, 1.0, True),
        (100_000, 0, 1.1, True),
        (9, 91, 0.1, True),
        (10, 90, 0.1, False),
    ],
)
def test_a_run_goes_on_while_it_does_not_fail_everywhere(lost, home, limit, on):
    assert goes_on(lost, lambda: home, limit) is on
