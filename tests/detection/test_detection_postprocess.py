"""DB post-processing on maps that were painted by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.postprocess import grown, mean_within, regions

CONFIG = DetectionConfig()


def painted(*rectangles, height=160, width=320, probability=0.9):
    """A map with an upright rectangle of pixels for each (x, y, width, height)."""
    found = np.full((height, width), 0.01, np.float32)
    for x, y, w, h in rectangles:
        found[y : y + h, x : x + w] = probability
    return found


def box(region):
    return [*region.polygon.min(axis=0).tolist(), *region.polygon.max(axis=0).tolist()]


def test_one_rectangle_grows_by_area_over_perimeter():
    (region,) = regions(painted((100, 50, 81, 21)), 320, 160, CONFIG)
    # The contour runs through the outermost pixels' centres: 80 x 20, so it moves by 80 * 20 * 1.5 / 200 = 12.
    assert box(region) == pytest.approx([88, 38, 192, 82], abs=1)
    assert region.score == pytest.approx(0.9)
    assert region.polygon.dtype == np.int32
    assert region.polygon.tolist()[0] == box(region)[:2]


def test_coordinates_are_the_pages():
    (region,) = regions(painted((100, 50, 81, 21)), 640, 480, CONFIG)
    assert box(region) == pytest.approx([176, 114, 384, 246], abs=3)


def test_regions_end_at_the_page():
    (region,) = regions(painted((0, 0, 200, 30)), 320, 160, CONFIG)
    assert box(region)[:2] == [0, 0]
    (region,) = regions(painted((200, 130, 120, 30)), 320, 160, CONFIG)
    assert box(region)[2:] == [320, 160]


def test_what_is_faint_small_or_absent_is_no_region():
    assert regions(painted(), 320, 160, CONFIG) == []
    assert regions(painted((100, 50, 80, 20), probability=0.5), 320, 160, CONFIG) == []  # below box_thresh
    assert len(regions(painted((100, 50, 80, 20), probability=0.61), 320, 160, CONFIG)) == 1
    assert regions(painted((100, 50, 80, 3)), 320, 160, CONFIG) == []  # contour 2 px high
    assert len(regions(painted((100, 50, 80, 6)), 320, 160, CONFIG)) == 1


def test_thresholds_come_from_the_config():
    faint = painted((100, 50, 80, 20), probability=0.5)
    assert len(regions(faint, 320, 160, DetectionConfig(box_thresh=0.4))) == 1
    assert regions(faint, 320, 160, DetectionConfig(box_thresh=0.4, thresh=0.55)) == []
    (tight,) = regions(painted((100, 50, 81, 21)), 320, 160, DetectionConfig(unclip_ratio=0.0))
    assert box(tight) == [100, 50, 180, 70]


def test_what_is_small_after_growing_is_no_region():
    still = DetectionConfig(unclip_ratio=0.0)
    assert regions(painted((100, 50, 80, 5)), 320, 160, still) == []  # 4 px from centre to centre
    assert len(regions(painted((100, 50, 80, 6)), 320, 160, still)) == 1


def test_a_slanted_line_gives_a_slanted_quad():
    found = np.zeros((200, 300), np.float32)
    cv2.fillPoly(found, [np.rint(cv2.boxPoints(((150, 100), (160, 16), 20))).astype(np.int32)], (0.95,))
    (region,) = regions(found, 300, 200, CONFIG)
    (x0, y0), (x1, y1), *_ = region.polygon.tolist()
    assert np.degrees(np.arctan2(y1 - y0, x1 - x0)) == pytest.approx(20, abs=1)
    assert region.score > 0.85


positions = st.lists(st.sampled_from([(x, y) for x in range(20, 260, 80) for y in range(20, 140, 40)]), unique=True)


@settings(deadline=None)
@given(positions, st.integers(30, 45), st.integers(6, 12))
def test_every_rectangle_is_found_once_and_lies_within_its_region(places, width, height):
    found = regions(painted(*((x, y, width, height) for x, y in places)), 320, 160, CONFIG)
    assert len(found) == len(places)
    boxes = sorted(box(region) for region in found)
    for (x, y), (left, top, right, bottom) in zip(sorted(places), boxes, strict=True):
        assert left < x and top < y and right >= x + width and bottom >= y + height


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_mean_is_that_of_a_full_mask(seed):
    rng = np.random.default_rng(seed)
    probability = rng.random((40, 60), np.float32)
    quad = cv2.boxPoints(((rng.uniform(15, 45), rng.uniform(12, 28)), (rng.uniform(5, 20), rng.uniform(4, 12)), 30.0))
    mask = np.zeros((40, 60), np.uint8)
    origin = np.floor(quad.min(axis=0))
    cv2.fillPoly(mask, [((quad - origin).astype(np.int32) + origin.astype(np.int32))], (1,))
    assert mean_within(probability, quad) == pytest.approx(probability[mask > 0].mean(), rel=1e-4)


def test_a_quad_beyond_the_map_counts_only_what_is_on_it():
    quad = np.array([(-5, -5), (30, -5), (30, 5), (-5, 5)], np.float32)
    assert mean_within(np.full((20, 20), 0.7, np.float32), quad) == pytest.approx(0.7)


@settings(deadline=None)
@given(st.integers(4, 200), st.integers(4, 60), st.floats(0.5, 3))
def test_growing_moves_every_side_by_the_same_distance(width, height, ratio):
    right, bottom = 50 + width, 50 + height
    outline = grown(np.array([(50, 50), (right, 50), (right, bottom), (50, bottom)], np.float32), ratio)
    distance = width * height * ratio / (2 * (width + height))
    assert outline.min(axis=0).tolist() == pytest.approx([50 - distance] * 2, abs=1)
    assert outline.max(axis=0).tolist() == pytest.approx([right + distance, bottom + distance], abs=1)
