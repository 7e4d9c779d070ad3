"""The text detector: pre-processing, the engine, post-processing.

Invariant: a page goes through the model at its own size, alone or beside pages of the same one, so that its regions
don't depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.postprocess import regions
from ocrbatch.detection.preprocess import canvas, canvas_size, resized, size_in_model
from ocrbatch.engines.base import Engine, rows_of
from ocrbatch.geometry import min_area_quad, reading_order, rectified_size
from ocrbatch.models.weights import MAX_CANDIDATES
from ocrbatch.records import Pixels, Region


class Detector:
    """A loaded detection model. Not thread-safe.

    max_candidates: see `Weights`. together: whether pages of one size share calls (see `DetectionConfig.batch_pixels`).
    """

    def __init__(
        self,
        engine: Engine,
        config: DetectionConfig,
        max_candidates: int = MAX_CANDIDATES,
        *,
        together: bool = False,
    ) -> None:
        self._engine = engine
        self._config = config
        self._max_candidates = max_candidates
        self._together = together

    def detect(self, images: Sequence[Pixels]) -> list[list[Region]]:
        """Finds the text lines of pages, each (H, W, 3) uint8 RGB.

        For each page its regions in reading order: quads in the page's pixels, clockwise from the top-left.
        Raises RuntimeError when the engine fails.
        """
        found: list[list[Region]] = [[] for _ in images]
        planned = self._batches(images)
        given = (self._pixels([images[member] for member in members]) for members in planned)
        with closing(self._engine.run_many(given)) as outputs:
            for members, (maps,) in zip(planned, outputs, strict=True):
                for member, probability in zip(members, maps, strict=True):
                    found[member] = self._regions(images[member], np.ascontiguousarray(probability, np.float32))
        return found

    def _batches(self, images: Sequence[Pixels]) -> list[list[int]]:
        """Places in the list of the pages that go together, in batches of one size."""
        if not self._together:
            return [[place] for place in range(len(images))]
        by_size: dict[tuple[int, int], list[int]] = {}
        for place, image in enumerate(images):
            by_size.setdefault(size_in_model(image, self._config), []).append(place)
        planned = []
        for (height, width), places in by_size.items():
            rows = rows_of(height * width, self._config.batch_pixels)
            planned += [places[k : k + rows] for k in range(0, len(places), rows)]
        return planned

    def _pixels(self, images: Sequence[Pixels]) -> Pixels:
        rows = [resized(canvas(image), self._config) for image in images]
        return rows[0][None] if len(rows) == 1 else np.stack(rows)

    def _regions(self, image: Pixels, probability: NDArray[np.float32]) -> list[Region]:
        height, width = canvas_size(image)
        found = regions(probability, width, height, self._config, self._max_candidates)
        if (height, width) != image.shape[:2]:
            found = [_clipped(region, image) for region in found]
        # A page that was enlarged can hold regions of less than a pixel: there is no crop of them.
        found = [region for region in found if min(rectified_size(min_area_quad(region.polygon)[0])) >= 1]
        return [found[i] for i in reading_order([region.polygon for region in found])]


def _clipped(region: Region, image: Pixels) -> Region:
    height, width = image.shape[:2]
    return Region(np.clip(region.polygon, 0, (width, height)).astype(np.int32), region.score)
