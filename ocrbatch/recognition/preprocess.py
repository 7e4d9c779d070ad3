"""From a page and a polygon to a strip: the image of one line at the height that the recognition model takes.

A strip is (48, w, 3) uint8, BGR, 1 <= w <= 3200. Invariant: it depends on its page and polygon only, and its pixels are
those that PaddleX 3.7 feeds its model. Strips are made beside detection, so that the page's image can end there.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrbatch.geometry import rectify
from ocrbatch.records import Pixels

HEIGHT: Final = 48
MAX_WIDTH: Final = 3200
# PaddleX widens every line to at least this much: up to there widths are rounded up, beyond it they are cut.
BASE_WIDTH: Final = 320


def strip(image: Pixels, polygon: NDArray[np.int32]) -> Pixels:
    """The strip of one line of a page (H, W, 3) uint8 RGB, turned where it is 1.5 times as tall as wide.

    Raises ValueError where the polygon has not one pixel inside.
    """
    return scaled(rectify(image, polygon))


def scaled(crop: Pixels) -> Pixels:
    """A line's image (h, w, 3) uint8 RGB as a strip. Bilinear, as PaddleX does it."""
    height, width = crop.shape[:2]
    size = (strip_width(height, width), HEIGHT)
    if (width, height) != size:
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), np.uint8)


def strip_width(height: int, width: int) -> int:
    """Width of the strip of a crop of this height and width, in pixels."""
    exact = HEIGHT * (width / height)
    return min(math.ceil(exact) if exact <= BASE_WIDTH else int(exact), MAX_WIDTH)
