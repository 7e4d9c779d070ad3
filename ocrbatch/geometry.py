"""Quadrilaterals of text lines: corners in order, the rectified crop, the reading order.

Invariant: pixel for pixel what PaddleX 3.7 computes, since another crop is another text. Coordinates are pixels of the
image, x to the right and y down; a quad is (4, 2), clockwise from its top-left corner. Rounding that looks odd (float32
lengths that are cut, not rounded) is PaddleX's and decides the size of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrbatch.records import Pixels

if TYPE_CHECKING:
    from cv2.typing import MatLike

# Lines whose top-left corners are less apart than this, in pixels, stand in one row.
ROW_TOLERANCE: Final = 10
# A crop at least this many times as tall as wide is text that runs downwards, and is turned.
UPRIGHT_RATIO: Final = 1.5
# Corners this near to whole pixels, in pixels, are on them: the warp itself rounds to 1/32.
SNAP: Final = 1e-3


def ordered_corners(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four corners in any order, (4, 2), as top-left, top-right, bottom-right, bottom-left.

    The two left ones are those with the smaller x; in each pair the upper one comes first.
    """
    a, b, c, d = corners[np.argsort(corners[:, 0], kind="stable")]
    top_left, bottom_left = (a, b) if b[1] > a[1] else (b, a)
    top_right, bottom_right = (c, d) if d[1] > c[1] else (d, c)
    return np.stack((top_left, top_right, bottom_right, bottom_left))


def min_area_quad(points: MatLike) -> tuple[NDArray[np.float32], float]:
    """The smallest rectangle, turned as it may be, around points (N, 2): its quad, float32, and its shorter side."""
    rectangle = cv2.minAreaRect(points)
    return ordered_corners(np.asarray(cv2.boxPoints(rectangle), np.float32)), min(rectangle[1])


def whole(image: Pixels) -> NDArray[np.int32]:
    """The quad around all of an image (H, W, 3)."""
    height, width = image.shape[:2]
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.int32)


def rectified_size(quad: NDArray[np.float32]) -> tuple[int, int]:
    """Width and height, in pixels, of the upright image of a quad: the longer of each pair of opposite sides, cut."""
    top, right, bottom, left = (_length(quad[i] - quad[(i + 1) % 4]) for i in range(4))
    return int(max(top, bottom)), int(max(right, left))


def rectify(image: Pixels, polygon: NDArray[np.int32]) -> Pixels:
    """The upright image of the smallest rectangle around a polygon (N, 2) of an image (H, W, 3).

    Gives (h, w, 3), turned by 90 degrees counter-clockwise where h >= 1.5 w. Bicubic; what lies outside the image
    repeats its edge. May be a view of the image. Raises ValueError where not one pixel is left (see `rectified_size`).
    """
    quad, _ = min_area_quad(polygon)
    width, height = rectified_size(quad)
    if width < 1 or height < 1:
        raise ValueError(f"the polygon {polygon.tolist()} has no pixel inside")
    crop = _upright(image, quad, width, height)
    if crop is None:
        target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        matrix = cv2.getPerspectiveTransform(quad, target)
        warped = cv2.warpPerspective(
            image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
        )
        crop = np.asarray(warped, np.uint8)
    if height / width >= UPRIGHT_RATIO:
        crop = np.asarray(cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8)
    return crop


def _upright(image: Pixels, quad: NDArray[np.float32], width: int, height: int) -> Pixels | None:
    """The crop where it is a piece of the image as it stands, else None.

    The warp would move such pixels by nothing: the same bytes in 106 us where this way takes 15. On receipts two lines
    of three are so.
    """
    x, y = (round(v) for v in quad[0].tolist())
    right, bottom = x + width, y + height
    # Where the length was cut to one pixel less, the warp squeezes the line, and this finds the corners apart.
    exact = np.array([(x, y), (right, y), (right, bottom), (x, bottom)], np.float32)
    if np.abs(quad - exact).max() > SNAP or x < 0 or y < 0 or right > image.shape[1] or bottom > image.shape[0]:
        return None
    return image[y:bottom, x:right]


def reading_order(quads: Sequence[NDArray[np.int32]]) -> list[int]:
    """Indices of quads from top to bottom, and from left to right within a row.

    Sorted by the top-left corner (y, then x); then each one moves to the left past its neighbours of the same row.
    """
    corners = [(int(quad[0][0]), int(quad[0][1])) for quad in quads]
    order = sorted(range(len(corners)), key=lambda i: (corners[i][1], corners[i][0]))
    for start in range(1, len(order)):
        for place in range(start, 0, -1):
            (x, y), (left_x, left_y) = corners[order[place]], corners[order[place - 1]]
            if abs(y - left_y) >= ROW_TOLERANCE or x >= left_x:
                break
            order[place - 1], order[place] = order[place], order[place - 1]
    return order


def _length(vector: NDArray[np.float32]) -> np.float32:
    # In float32 throughout: in float64 a side of 99.999998 px would be cut to 99, where PaddleX has 100.
    return np.float32(np.sqrt(vector.dot(vector)))
