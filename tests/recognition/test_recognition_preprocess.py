"""Crops: width, height, colours, orientation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.geometry import whole
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.recognition.preprocess import MAX_WIDTH, crop, crop_width, scaled


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (48, 320, 320),
        (50, 100, 96),
        (50, 101, 97),  # 96.96, narrow: up
        (50, 501, 480),  # 480.96, wide: cut
        (48, 5000, MAX_WIDTH),
        (5000, 1, 1),
    ],
)
def test_widths(height, width, expected):
    assert crop_width(height, width) == expected


@settings(deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_widths_keep_the_ratio_within_a_pixel(height, width):
    found = crop_width(height, width)
    assert 1 <= found <= MAX_WIDTH
    assert found == MAX_WIDTH or abs(found - 48 * width / height) <= 1


def test_a_line_of_the_right_height_keeps_its_pixels_in_bgr():
    line = np.random.default_rng(0).integers(0, 256, (LINE_HEIGHT, 200, 3), np.uint8)
    assert np.array_equal(scaled(line), line[:, :, ::-1])
    assert np.array_equal(crop(line, whole(line)), scaled(line))


@pytest.mark.parametrize("size", [(10, 10), (20, 400), (400, 20), (3, 500)])
def test_crops_are_contiguous_and_of_one_height(size):
    page = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    height, width = size
    polygon = np.array([(5, 5), (5 + width, 5), (5 + width, 5 + height), (5, 5 + height)], np.int32)
    found = crop(page, polygon)
    assert found.shape[0] == LINE_HEIGHT and found.dtype == np.uint8 and found.flags.c_contiguous
    assert found.shape[1] >= LINE_HEIGHT  # never taller than wide: it was turned


def test_the_page_outside_the_polygon_has_no_say():
    page = np.full((100, 200, 3), 128, np.uint8)
    polygon = np.array([(50, 40), (150, 40), (150, 60), (50, 60)], np.int32)
    before = crop(page, polygon)
    page[:30], page[70:], page[:, :40], page[:, 160:] = 0, 0, 0, 0
    assert np.array_equal(crop(page, polygon), before)
