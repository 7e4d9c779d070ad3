"""The text detector: pre-processing, the engine, post-processing.

Invariant: a page goes through the model alone, at its own size, so its regions don't depend on the pages beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.postprocess import regions
from ocrbatch.detection.preprocess import canvas, resized
from ocrbatch.engines.base import Engine
from ocrbatch.geometry import min_area_quad, reading_order, rectified_size
from ocrbatch.models.weights import MAX_CANDIDATES
from ocrbatch.records import Pixels, Region


class Detector:
    """A loaded detection model. max_candidates: see `Weights`. Not thread-safe."""

    def __init__(self, engine: Engine, config: DetectionConfig, max_candidates: int = MAX_CANDIDATES) -> None:
        self._engine = engine
        self._config = config
        self._max_candidates = max_candidates

    def detect(self, images: Sequence[Pixels]) -> list[list[Region]]:
        """Finds the text lines of pages, each (H, W, 3) uint8 RGB.

        For each page its regions in reading order: quads in the page's pixels, clockwise from the top-left.
        Raises RuntimeError when the engine fails.
        """
        return [self._regions(image) for image in images]

    def _regions(self, image: Pixels) -> list[Region]:
        frame = canvas(image)
        height, width = frame.shape[:2]
        (maps,) = self._engine.run(resized(frame, self._config)[None])
        probability = np.ascontiguousarray(maps[0], np.float32)
        found = regions(probability, width, height, self._config, self._max_candidates)
        if frame is not image:
            found = [_clipped(region, image) for region in found]
        # A page that was enlarged can hold regions of less than a pixel: there is no crop of them.
        found = [region for region in found if min(rectified_size(min_area_quad(region.polygon)[0])) >= 1]
        return [found[i] for i in reading_order([region.polygon for region in found])]


def _clipped(region: Region, image: Pixels) -> Region:
    height, width = image.shape[:2]
    return Region(np.clip(region.polygon, 0, (width, height)).astype(np.int32), region.score)
