"""From a page to what the detection model takes.

Invariant: a page is resized as PaddleX 3.7 resizes it and never padded: 32 px of padding move 8% of the boxes.
"""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np

from ocrbatch.config import DetectionConfig
from ocrbatch.records import Pixels

# The model halves its input five times.
STRIDE: Final = 32
# Images with width + height below this are first set into a black one of at least STRIDE a side.
TINY: Final = 64


def input_size(
    height: int, width: int, limit_side_len: int, limit_type: Literal["min", "max"], max_side_limit: int
) -> tuple[int, int]:
    """Height and width at which a page of that height and width goes through the model: multiples of 32.

    Rounded to the nearest multiple, halves to the even one, so the aspect ratio changes a little and
    `max_side_limit` may be passed by half a stride.
    """
    if limit_type == "max":
        longer = max(height, width)
        ratio = limit_side_len / longer if longer > limit_side_len else 1.0
    else:
        shorter = min(height, width)
        ratio = limit_side_len / shorter if shorter < limit_side_len else 1.0
    new_height, new_width = int(height * ratio), int(width * ratio)
    if max(new_height, new_width) > max_side_limit:
        ratio = max_side_limit / max(new_height, new_width)
        new_height, new_width = int(new_height * ratio), int(new_width * ratio)
    return max(round(new_height / STRIDE) * STRIDE, STRIDE), max(round(new_width / STRIDE) * STRIDE, STRIDE)


def canvas_size(image: Pixels) -> tuple[int, int]:
    """Height and width of a page's `canvas`."""
    height, width = image.shape[:2]
    return (height, width) if height + width >= TINY else (max(STRIDE, height), max(STRIDE, width))


def canvas(image: Pixels) -> Pixels:
    """The page itself, or, where it is tiny, the page in the top-left corner of a black square of 32 px."""
    size = canvas_size(image)
    if size == image.shape[:2]:
        return image
    framed = np.zeros((*size, 3), np.uint8)
    framed[: image.shape[0], : image.shape[1]] = image
    return framed


def size_in_model(image: Pixels, config: DetectionConfig) -> tuple[int, int]:
    """Height and width at which a page (H, W, 3) goes through the model."""
    return input_size(*canvas_size(image), config.limit_side_len, config.limit_type, config.max_side_limit)


def resized(image: Pixels, config: DetectionConfig) -> Pixels:
    """A `canvas` (H, W, 3) uint8 RGB as the model takes it: (h, w, 3) uint8 BGR, h and w multiples of 32. Bilinear."""
    height, width = size_in_model(image, config)
    if (height, width) != image.shape[:2]:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    # After the resize: channels don't mix, so the result is the same, and this way there are fewer pixels to swap.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
