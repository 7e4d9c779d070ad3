"""From a probability map to quads: the post-processing of Differentiable Binarization (Liao et al. 2020).

Invariant: with the same map, the quads and scores are PaddleX 3.7's (score mode fast, quads, no dilation).
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import pyclipper
from numpy.typing import NDArray

from ocrbatch.config import DetectionConfig
from ocrbatch.geometry import min_area_quad
from ocrbatch.models.weights import MAX_CANDIDATES
from ocrbatch.records import Region

# Shortest side, in pixels of the map, of a region before it is grown; after it, two more.
MIN_SIDE: Final = 3


def regions(
    probability: NDArray[np.float32],
    width: int,
    height: int,
    config: DetectionConfig,
    max_candidates: int = MAX_CANDIDATES,
) -> list[Region]:
    """Text lines in a probability map (h, w) of a page of `width` x `height` pixels, in no particular order.

    max_candidates: contours that are looked at, from the bottom of the map up; a model's inference.yml says how many.
    Polygons are quads in the page's coordinates, clipped to 0..width and 0..height; score is the mean probability
    within the region before it was grown.
    """
    bitmap = (probability > config.thresh).view(np.uint8)
    contours, _ = cv2.findContours(bitmap, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    quads, scores = [], []
    for contour in contours[:max_candidates]:
        core, side = min_area_quad(contour)
        if side < MIN_SIDE:
            continue
        score = mean_within(probability, core)
        if score < config.box_thresh:
            continue
        outline = grown(core, config.unclip_ratio)
        if not len(outline):
            continue
        quad, side = min_area_quad(outline)
        if side < MIN_SIDE + 2:
            continue
        quads.append(quad)
        scores.append(score)
    if not quads:
        return []
    map_height, map_width = probability.shape
    # Halves round to even, in float64, as Python's round() does.
    scaled = np.rint(np.stack(quads).astype(np.float64) * (width / map_width, height / map_height))
    polygons = np.clip(scaled, 0, (width, height)).astype(np.int32)
    return [Region(polygon, score) for polygon, score in zip(polygons, scores, strict=True)]


def mean_within(probability: NDArray[np.float32], quad: NDArray[np.float32]) -> float:
    """Mean probability over the pixels of a quad, its outline included; only its bounding box is looked at."""
    height, width = probability.shape
    (left, top), (right, bottom) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
    x, y = _clamp(math.floor(left), width), _clamp(math.floor(top), height)
    last_x, last_y = _clamp(math.ceil(right), width), _clamp(math.ceil(bottom), height)
    mask = np.zeros((last_y - y + 1, last_x - x + 1), np.uint8)
    cv2.fillPoly(mask, [(quad - np.array((x, y), np.float32)).astype(np.int32)], (1,))
    return float(cv2.mean(probability[y : last_y + 1, x : last_x + 1], mask)[0])


def grown(quad: NDArray[np.float32], ratio: float) -> NDArray[np.int32]:
    """The outline (N, 2) of a quad moved outwards by area * ratio / perimeter, with round corners.

    Undoes the shrinking of regions that the model was trained on (Vatti clipping; Liao et al. 2020, section 3.4).
    (0, 2) where nothing is left.
    """
    distance = cv2.contourArea(quad) * ratio / cv2.arcLength(quad, closed=True)
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(quad.astype(np.int64).tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    paths = offset.Execute(distance)
    # A convex outline that grows stays in one piece.
    return np.array(paths[0] if paths else np.empty((0, 2)), np.int32)


def _clamp(place: int, length: int) -> int:
    return max(0, min(place, length - 1))
