"""Detect (layout `split`): pages to regions and strips. The page's pixels end here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.reading.reader import Reader
from ocrbatch.records import Pixels, Region
from ocrbatch.schema import POLYGON
from ocrbatch.stages.base import PageStage, bytes_at
from ocrbatch.stages.identity import check_fingerprint

REGIONS: Final = pa.schema(
    [
        ("region_polygons", pa.list_(POLYGON)),
        ("region_scores", pa.list_(pa.float64())),
        ("strips", pa.large_binary()),  # the strips' pixels one after another, each 48 * w * 3 bytes, BGR
        ("strip_widths", pa.list_(pa.int32())),
    ]
)


def image_at(table: pa.Table, row: int) -> Pixels:
    """A page's pixels as a view: (H, W, 3) uint8 RGB, read-only."""
    shape = table["height"][row].as_py(), table["width"][row].as_py(), 3
    return bytes_at(table["image"], row).reshape(shape)


class DetectStage(PageStage):
    """One detection worker."""

    takes = ("image",)
    payload = REGIONS
    code = "DETECT_FAILED"

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        check_fingerprint(config, fingerprint)
        self._reader = Reader.load(config, threads, recognition=False)

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any]]:
        """Regions and strips of these pages."""
        images = [image_at(table, row) for row in rows]
        pages = self._reader.detect(images)
        return [self._payload(image, regions) for image, regions in zip(images, pages, strict=True)]

    def _payload(self, image: Pixels, regions: Sequence[Region]) -> dict[str, Any]:
        strips = self._reader.strips(image, regions)
        return {
            "region_polygons": [region.polygon.reshape(-1) for region in regions],
            "region_scores": [region.score for region in regions],
            "strips": np.concatenate([s.reshape(-1) for s in strips]) if strips else np.empty(0, np.uint8),
            "strip_widths": [s.shape[1] for s in strips],
        }
