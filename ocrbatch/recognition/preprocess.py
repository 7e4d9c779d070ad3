"""From a page and a polygon to a crop: the image of one line at the height that the recognition model takes.

A crop is (48, w, 3) uint8, BGR, 1 <= w <= 3200. Invariant: it depends on its page and polygon only, and its pixels are
those that PaddleX 3.7 feeds its model. Crops are made beside detection, so that the page's image can end there.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrbatch.geometry import rectify
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.recognition.buckets import WIDTHS
from ocrbatch.records import Pixels

# PaddleX's own bound too.
MAX_WIDTH: Final = WIDTHS[-1]
# PaddleX widens every line to at least this much: up to there widths are rounded up, beyond it they are cut.
BASE_WIDTH: Final = 320


def crop(image: Pixels, polygon: NDArray[np.int32]) -> Pixels:
    """The crop of one line of a page (H, W, 3) uint8 RGB, turned where it is tall (see `rectify`).

    Raises ValueError where the polygon has not one pixel inside.
    """
    return scaled(rectify(image, polygon))


def scaled(image: Pixels) -> Pixels:
    """An upright image of a line, (h, w, 3) uint8 RGB, as a crop. Bilinear, as PaddleX does it."""
    height, width = image.shape[:2]
    size = (crop_width(height, width), LINE_HEIGHT)
    if (width, height) != size:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)


def crop_width(height: int, width: int) -> int:
    """Width, in pixels, of the crop of a line's image of this height and width."""
    exact = LINE_HEIGHT * (width / height)
    return min(math.ceil(exact) if exact <= BASE_WIDTH else int(exact), MAX_WIDTH)
