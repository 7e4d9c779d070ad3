"""Rates, from the spans of what workers have finished."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.stages.spans import Span
from ocrbatch.tuning.rates import rate, warm_since


def span(end, pages=8):
    return Span("read", "w", end, end, end, end, pages)


def batches(first, seconds, count, pages=8):
    """A worker's: its first batch ends at `first`, the others each take so many seconds."""
    return [span(first + seconds * number, pages) for number in range(count)]


@given(st.integers(1, 16), st.lists(st.tuples(st.floats(0.5, 9), st.floats(0, 9)), min_size=1, max_size=4))
def test_steady_workers_have_their_rate_however_their_batches_lie(pages, workers):
    done = [batches(first, seconds, 30, pages) for seconds, first in workers]
    since = warm_since(done, len(done), pages)
    assert rate(done, since) == pytest.approx(sum(pages / seconds for seconds, _ in workers))


def test_a_worker_is_warm_after_a_batch_and_so_many_pages():
    assert warm_since([], 1, 8) is None
    assert warm_since([[]], 1, 8) is None
    assert warm_since([batches(5, 1, 1)], 1, 8) == 5
    assert warm_since([batches(5, 1, 3, pages=4)], 1, 8) == 6
    assert warm_since([batches(5, 1, 1), []], 2, 8) is None
    assert warm_since([batches(5, 1, 1), batches(9, 1, 1)], 2, 8) == 9


def test_there_is_no_rate_until_each_worker_has_finished_a_batch_since():
    slow, quick = batches(10, 5, 1), batches(2, 1, 9)
    assert rate([slow, quick], 10) is None
    assert rate([batches(10, 5, 2), quick], 10) is None, "the quick one has finished none since"
    assert rate([batches(10, 5, 2), batches(2, 1, 12)], 10) == pytest.approx(8 / 5 + 8)


def test_what_was_read_while_others_loaded_does_not_count():
    assert rate([[span(1), span(2), span(10), span(14)]], 10) == 2
