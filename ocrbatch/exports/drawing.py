"""A page and what was read on it, side by side: for a look with one's own eyes.

Left the page with its polygons, right the texts on white where they stand on the page, as PaddleOCR's visualisation has
it. Invariant: the page's pixels keep their place and scale, so coordinates of the row are coordinates of the left half.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ocrbatch.exports import fonts
from ocrbatch.geometry import UPRIGHT_RATIO
from ocrbatch.records import Line, Pixels

# The golden ratio's hues never come close to one another, however many lines a page has.
_GOLDEN: Final = 0.618033988749895
_TINT: Final = 0.35  # share of the colour in a polygon's fill: the print below stays readable
_FILL: Final = 0.8  # share of a line's height that its letters take
_PAPER: Final = 255


def draw_page(image: Pixels, lines: Sequence[Line], font: str | None = None) -> Pixels:
    """Draws the polygons over the page, and beside it the texts in their places.

    image: (H, W, 3) uint8, RGB; not changed. lines: polygons in pixels of `image`; what lies outside is cut off.
    font: a font file; without one, see `fonts.choose`. Returns (H, 2W, 3) uint8, RGB.
    Raises ValueError for an image of another shape or type, UsageError for a font that can't be read.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    tinted, texts = image.copy(), np.full_like(image, _PAPER)
    for index, line in enumerate(lines):
        colour = _colour(index)
        cv2.fillPoly(tinted, [_points(line)], colour)
        cv2.polylines(texts, [_points(line)], isClosed=True, color=colour, thickness=1, lineType=cv2.LINE_AA)
    page = cv2.addWeighted(tinted, _TINT, image, 1 - _TINT, 0)
    for index, line in enumerate(lines):
        cv2.polylines(
            page, [_points(line)], isClosed=True, color=_colour(index), thickness=max(1, min(height, width) // 600)
        )
        _write(texts, line, font)
    return np.concatenate([page, texts], axis=1).astype(np.uint8, copy=False)


def _points(line: Line) -> NDArray[np.int32]:
    return np.ascontiguousarray(line.polygon, np.int32).reshape(-1, 1, 2)


def _colour(index: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1.0, 0.9, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def _write(canvas: Pixels, line: Line, font: str | None) -> None:
    """Draws a line's text into its quadrilateral on `canvas`, which is (H, W, 3); ink only ever darkens."""
    quad = _quad(line)
    across = max(float(np.linalg.norm(quad[1] - quad[0])), float(np.linalg.norm(quad[2] - quad[3])))
    down = max(float(np.linalg.norm(quad[3] - quad[0])), float(np.linalg.norm(quad[2] - quad[1])))
    if down >= UPRIGHT_RATIO * across:
        quad, across, down = np.roll(quad, -1, axis=0), down, across  # upright letters point to the right of the page
    length, thickness = round(across), round(down)
    corner = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
    end = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + 1, canvas.shape[1::-1])
    if not line.text.strip() or length < 1 or thickness < 1 or (end <= corner).any():
        return
    strip = _strip(line.text, length, thickness, font)
    source = np.array([[0, 0], [length, 0], [length, thickness], [0, thickness]], np.float32)
    warp = cv2.getPerspectiveTransform(source, (quad - corner).astype(np.float32))
    size = (int(end[0] - corner[0]), int(end[1] - corner[1]))
    ink = cv2.warpPerspective(strip, warp, size, flags=cv2.INTER_LINEAR, borderValue=(_PAPER,))
    window = canvas[corner[1] : end[1], corner[0] : end[0]]
    np.minimum(window, ink[:, :, None], out=window)


def _quad(line: Line) -> NDArray[np.float64]:
    if len(line.polygon) == 4:
        return line.polygon.astype(np.float64)
    xmin, ymin, xmax, ymax = line.box  # a curved line of a seal: its text is set straight, in its box
    return np.array([[xmin, ymin], [xmax, ymin], [xmax, ymax], [xmin, ymax]], np.float64)


def _strip(text: str, length: int, thickness: int, font: str | None) -> NDArray[np.uint8]:
    """The text as (thickness, length) uint8, dark on white, as large as fits."""
    chosen, drawable = fonts.choose(" ".join(text.split()), font)
    size = max(1, round(thickness * _FILL))
    natural = fonts.load(chosen, size).getlength(drawable)
    if natural > length:
        size = max(1, int(size * length / natural))
    strip = Image.new("L", (length, thickness), _PAPER)
    face = fonts.load(chosen, size)
    ImageDraw.Draw(strip).text((0, thickness / 2), drawable, fill=0, font=face, anchor="lm")
    return np.asarray(strip)
