"""Which crops share a batch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.recognition.buckets import WIDTHS, batches, bucket
from ocrbatch.recognition.preprocess import MAX_WIDTH

width = st.integers(1, MAX_WIDTH)
widths = st.lists(width, max_size=80)
area = st.integers(64, 8192)


def test_buckets_ascend_in_steps_of_the_model_and_hold_the_widest_crop():
    assert list(WIDTHS) == sorted(set(WIDTHS))
    assert all(w % 32 == 0 for w in WIDTHS)
    assert WIDTHS[-1] == MAX_WIDTH
    assert 20 <= len(WIDTHS) <= 33


@settings(deadline=None)
@given(width)
def test_a_bucket_holds_its_crop_and_no_narrower_one_does(w):
    assert bucket(w) >= w
    assert all(other < w for other in WIDTHS if other < bucket(w))


@settings(deadline=None)
@given(width, width)
def test_a_wider_crop_never_has_a_narrower_bucket(a, b):
    assert (bucket(a) <= bucket(b)) if a <= b else (bucket(a) >= bucket(b))


@settings(deadline=None)
@given(width)
def test_padding_is_bounded(w):
    assert bucket(w) - w < max(64, bucket(w) / 4)


def test_a_crop_wider_than_any_bucket_is_refused():
    with pytest.raises(ValueError, match="3201"):
        bucket(MAX_WIDTH + 1)


@settings(deadline=None)
@given(widths, area)
def test_every_crop_is_in_exactly_one_batch_of_its_bucket(some, pixels):
    planned = batches(some, pixels)
    assert sorted(member for batch in planned for member in batch.members) == list(range(len(some)))
    assert all(bucket(some[member]) == batch.width for batch in planned for member in batch.members)


@settings(deadline=None)
@given(widths, area)
def test_batches_keep_to_the_area(some, pixels):
    for batch in batches(some, pixels):
        rows = len(batch.members)
        assert rows == 1 or rows * batch.width <= pixels


@settings(deadline=None)
@given(st.integers(1, 300), area)
def test_a_bucket_is_cut_into_as_few_batches_as_can_be(count, pixels):
    assert len(batches([50] * count, pixels)) == -(-count // max(1, pixels // 64))


def test_batches_of_an_example():
    planned = batches([300, 60, 310, 61, 62, 300], 640)
    assert [(b.width, b.members) for b in planned] == [(320, (0, 2)), (64, (1, 3, 4)), (320, (5,))]


def test_batches_of_a_frequent_bucket_are_spread_out():
    planned = batches([300] * 4 + [100, 200, 400], 320)
    assert [b.width for b in planned] == [320, 320, 448, 224, 128, 320, 320]
