"""Corners, crops and reading order."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.geometry import (
    ROW_TOLERANCE,
    min_area_quad,
    ordered_corners,
    reading_order,
    rectified_size,
    rectify,
    whole,
)

coordinate = st.integers(0, 300)


def rectangle(x, y, width, height):
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.int32)


@settings(deadline=None)
@given(st.permutations(range(4)), coordinate, coordinate, st.integers(1, 90), st.integers(1, 90))
def test_corners_come_clockwise_from_the_top_left_in_whatever_order_they_were(order, x, y, width, height):
    quad = rectangle(x, y, width, height).astype(np.float32)
    assert np.array_equal(ordered_corners(quad[list(order)]), quad)


@settings(deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=20))
def test_the_min_area_quad_holds_every_point(points):
    quad, side = min_area_quad(np.array(points, np.int32))
    hull = cv2.convexHull(quad)
    assert all(cv2.pointPolygonTest(hull, (float(x), float(y)), True) > -0.1 for x, y in points)
    assert side >= 0


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


LARGE = noise(300, 400)


def warped(image, polygon):
    """The crop the long way, without a look at whether the line stands upright."""
    quad, _ = min_area_quad(polygon)
    width, height = rectified_size(quad)
    matrix = cv2.getPerspectiveTransform(quad, np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32))
    crop = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    return np.rot90(crop) if height / width >= 1.5 else crop


@settings(deadline=None)
@given(st.integers(0, 250), st.integers(0, 200), st.integers(2, 200), st.integers(2, 120))
def test_an_upright_crop_has_the_bytes_of_the_warp(x, y, width, height):
    polygon = rectangle(x, y, width, height)
    assert np.array_equal(rectify(LARGE, polygon), warped(LARGE, polygon))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=4, max_size=4))
def test_any_crop_has_the_bytes_of_the_warp(points):
    polygon = np.array(points, np.int32)
    if min(rectified_size(min_area_quad(polygon)[0])) >= 1:
        assert np.array_equal(rectify(LARGE, polygon), warped(LARGE, polygon))


def test_an_upright_crop_is_the_pixels_themselves():
    assert np.array_equal(rectify(LARGE, rectangle(250, 200, 120, 31)), LARGE[200:231, 250:370])


def test_a_tall_crop_is_turned_and_a_nearly_square_one_is_not():
    image = noise(200, 200)
    assert rectify(image, rectangle(10, 10, 20, 30)).shape == (20, 30, 3)
    assert rectify(image, rectangle(10, 10, 20, 29)).shape == (29, 20, 3)


def test_a_slanted_line_comes_out_level():
    image = np.full((200, 300, 3), 255, np.uint8)
    center, angle = (150, 100), 15
    quad = cv2.boxPoints((center, (160, 20), angle))
    cv2.fillPoly(image, [quad.astype(np.int32)], (0, 0, 0))
    crop = rectify(image, np.rint(cv2.boxPoints((center, (180, 40), angle))).astype(np.int32))
    assert abs(crop.shape[1] - 180) <= 2 and abs(crop.shape[0] - 40) <= 2
    assert crop[18:22, 20:-20].max() < 40 and crop[:4].min() > 200 and crop[-4:].min() > 200


def test_a_polygon_without_a_pixel_is_refused():
    with pytest.raises(ValueError, match="no pixel"):
        rectify(noise(20, 20), rectangle(5, 5, 10, 0))


def test_beyond_the_edge_the_edge_repeats():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, -1] = 200
    crop = rectify(image, rectangle(30, 0, 20, 40))  # turned: the right side is up
    assert (crop[:11] == 200).all() and (crop[11:] == 0).all()


def test_whole_is_the_whole_image():
    assert whole(noise(7, 9)).tolist() == [[0, 0], [9, 0], [9, 7], [0, 7]]


quads = st.lists(st.tuples(coordinate, coordinate), max_size=40).map(
    lambda corners: [rectangle(x, y, 10, 5) for x, y in corners]
)


@settings(deadline=None)
@given(quads)
def test_reading_order_is_a_permutation(some):
    assert sorted(reading_order(some)) == list(range(len(some)))


@settings(deadline=None)
@given(quads)
def test_neighbours_in_one_row_go_from_left_to_right(some):
    corners = [some[i][0] for i in reading_order(some)]
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        assert next_x >= x or abs(int(next_y) - int(y)) >= ROW_TOLERANCE


def test_two_columns_read_row_by_row():
    left, right = [rectangle(10, y, 50, 20) for y in (103, 140)], [rectangle(200, y, 50, 20) for y in (100, 141)]
    assert reading_order([*right, *left]) == [2, 0, 3, 1]


def test_a_row_ends_ten_pixels_below():
    assert reading_order([rectangle(200, 100, 50, 20), rectangle(10, 109, 50, 20)]) == [1, 0]
    assert reading_order([rectangle(200, 100, 50, 20), rectangle(10, 110, 50, 20)]) == [0, 1]
