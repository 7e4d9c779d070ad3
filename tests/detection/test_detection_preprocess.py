"""How a page is resized before detection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.preprocess import canvas, input_size, resized

side = st.integers(1, 12_000)


@pytest.mark.parametrize(
    ("page", "config", "expected"),
    [
        ((1013, 463), {}, (1024, 448)),  # 463 / 32 = 14.47
        ((1008, 496), {}, (1024, 512)),  # 31.5 and 15.5 go to the even number
        ((976, 464), {}, (960, 448)),  # and so do 30.5 and 14.5
        ((40, 600), {}, (64, 960)),
        ((5000, 2500), {}, (4000, 1984)),  # and 62.5
        ((1000, 700), {"limit_type": "max", "limit_side_len": 960}, (960, 672)),
        ((500, 400), {"limit_type": "max", "limit_side_len": 960}, (512, 384)),
        ((3, 9000), {}, (32, 4000)),
    ],
)
def test_sizes(page, config, expected):
    options = DetectionConfig(**config)
    assert input_size(*page, options.limit_side_len, options.limit_type, options.max_side_limit) == expected


@settings(deadline=None)
@given(side, side, st.integers(1, 2000), st.sampled_from(["min", "max"]), st.integers(32, 5000))
def test_sides_are_multiples_of_32_within_the_limit(height, width, limit, kind, longest):
    size = input_size(height, width, limit, kind, longest)
    assert all(s % 32 == 0 and 32 <= s <= max(32, longest + 16) for s in size)


def test_a_page_that_fits_keeps_its_pixels_in_bgr():
    page = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(resized(page, DetectionConfig()), page[:, :, ::-1])


def test_a_tiny_page_stands_in_a_black_square():
    page = np.full((10, 20, 3), 255, np.uint8)
    framed = canvas(page)
    assert framed.shape == (32, 32, 3) and (framed[:10, :20] == 255).all() and framed.sum() == page.sum()
    large = np.zeros((32, 32, 3), np.uint8)
    assert canvas(large) is large
