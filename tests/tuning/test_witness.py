"""Rates, from what workers note of their batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.tuning.witness import NOTES, Note, notes, rate, started, warm_since


def batches(first, seconds, count, pages=8):
    """A worker's notes: its first batch ends at `first`, the others each take so many seconds."""
    return [Note(first + seconds * number, pages) for number in range(count)]


@given(st.integers(1, 16), st.lists(st.tuples(st.floats(0.5, 9), st.floats(0, 9)), min_size=1, max_size=4))
def test_steady_workers_have_their_rate_however_their_batches_lie(pages, workers):
    noted = [batches(first, seconds, 30, pages) for seconds, first in workers]
    since = warm_since(noted, len(noted), pages)
    assert rate(noted, since) == pytest.approx(sum(pages / seconds for seconds, _ in workers))


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
    assert rate([[Note(1, 8), Note(2, 8), Note(10, 8), Note(14, 8)]], 10) == 2


def test_notes_are_read_as_far_as_they_are_written(tmp_path):
    folder = tmp_path / NOTES
    folder.mkdir()
    assert (started(tmp_path), notes(tmp_path)) == (0, [])
    (folder / "DetectStage-7").write_text("3.5 8\n")
    (folder / "RecognizeStage-8").write_text("")
    (folder / "RecognizeStage-9").write_text("4.5 8\n5.5 7\n6.")
    assert started(tmp_path) == 3
    assert notes(tmp_path) == [[], [Note(4.5, 8), Note(5.5, 7)]], "detection gives no lines"
