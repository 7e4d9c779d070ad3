"""Detect (layout `split`): pages to regions and crops. The page's pixels end here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.reading.reader import Detected, Reader
from ocrbatch.records import Pixels
from ocrbatch.schema import POLYGON
from ocrbatch.stages.base import PageStage, bytes_at
from ocrbatch.stages.identity import check_fingerprint
from ocrbatch.stages.watch import set_up

REGIONS: Final = pa.schema(
    [
        ("region_polygons", pa.list_(POLYGON)),
        ("region_scores", pa.list_(pa.float64())),
        ("crops", pa.large_binary()),  # the crops' pixels one after another, each 48 * w * 3 bytes, BGR
        ("crop_widths", pa.list_(pa.int32())),
    ]
)


def image_at(table: pa.Table, row: int) -> Pixels:
    """A page's pixels as a view: (H, W, 3) uint8 RGB, read-only."""
    shape = table["height"][row].as_py(), table["width"][row].as_py(), 3
    return bytes_at(table["image"], row).reshape(shape)


class DetectStage(PageStage):
    """One detection worker."""

    name = "detect"
    takes = ("image",)
    payload = REGIONS
    code = "DETECT_FAILED"

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        with set_up():
            check_fingerprint(config, fingerprint)
            self._reader = Reader.load(config, threads, recognition=False)
            super().__init__(config)  # last: what the model takes counts

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any]]:
        """Regions and crops of these pages."""
        return [_payload(page) for page in self._reader.detect([image_at(table, row) for row in rows])]


def _payload(page: Detected) -> dict[str, Any]:
    """A page's regions and crops as values of REGIONS; `stages.recognize` reads them."""
    return {
        "region_polygons": [region.polygon.reshape(-1) for region in page.regions],
        "region_scores": [region.score for region in page.regions],
        "crops": np.concatenate([c.reshape(-1) for c in page.crops]) if page.crops else np.empty(0, np.uint8),
        "crop_widths": [c.shape[1] for c in page.crops],
    }
