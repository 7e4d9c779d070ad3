"""The text detector: pre-processing, the engine, post-processing.

Invariant: a page's regions don't depend on the pages beside it; only equal shapes share a batch, none is padded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.postprocess import regions
from ocrbatch.detection.preprocess import canvas, resized, resized_shape
from ocrbatch.engines.base import Engine
from ocrbatch.geometry import min_area_quad, reading_order, rectified_size
from ocrbatch.records import Pixels, Region


class Detector:
    """A loaded detection model. Not thread-safe."""

    def __init__(self, engine: Engine, config: DetectionConfig) -> None:
        self._engine = engine
        self._config = config

    def detect(self, images: Sequence[Pixels]) -> list[list[Region]]:
        """Finds the text lines of pages, each (H, W, 3) uint8 RGB.

        For each page its regions in reading order: quads in the page's pixels, clockwise from the top-left.
        Raises RuntimeError when the engine fails.
        """
        found: list[list[Region]] = [[] for _ in images]
        for batch in self._batches(images):
            frames = [canvas(images[i]) for i in batch]
            (maps,) = self._engine.run(np.stack([resized(frame, self._config) for frame in frames]))
            for i, frame, probability in zip(batch, frames, maps, strict=True):
                found[i] = self._regions(probability, frame, images[i])
        return found

    def _batches(self, images: Sequence[Pixels]) -> list[list[int]]:
        by_shape: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            by_shape.setdefault(resized_shape(image, self._config), []).append(i)
        size = self._config.batch_size
        return [same[k : k + size] for same in by_shape.values() for k in range(0, len(same), size)]

    def _regions(self, probability: NDArray[np.float32], frame: Pixels, image: Pixels) -> list[Region]:
        height, width = frame.shape[:2]
        found = regions(np.ascontiguousarray(probability, np.float32), width, height, self._config)
        if frame is not image:
            found = [_clipped(region, image) for region in found]
        # A page that was enlarged can hold regions of less than a pixel: there is no crop of them.
        found = [region for region in found if min(rectified_size(min_area_quad(region.polygon)[0])) >= 1]
        return [found[i] for i in reading_order([region.polygon for region in found])]


def _clipped(region: Region, image: Pixels) -> Region:
    height, width = image.shape[:2]
    return Region(np.clip(region.polygon, 0, (width, height)).astype(np.int32), region.score)
