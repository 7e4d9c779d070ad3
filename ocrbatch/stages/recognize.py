"""Recognize (layout `split`): crops of many pages to lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.reading.reader import Detected, Reader, Reading
from ocrbatch.recognition.recognizer import Fill
from ocrbatch.records import Pixels, Region, joined
from ocrbatch.schema import PAGES
from ocrbatch.stages.base import PageStage, bytes_at
from ocrbatch.stages.detect import REGIONS
from ocrbatch.stages.identity import check_fingerprint
from ocrbatch.stages.watch import set_up

# What reading adds to a page's row, as it is written.
LINES: Final = pa.schema(
    [
        PAGES.field(name).with_nullable(True)
        for name in ("texts", "scores", "polygons", "boxes", "det_scores", "line_angles", "rejected_polygons", "text")
    ]
)


def lines_payload(reading: Reading) -> dict[str, Any]:
    """A page's lines as values of LINES."""
    lines = reading.lines
    return {
        "texts": [line.text for line in lines],
        "scores": [line.score for line in lines],
        "polygons": [line.polygon.reshape(-1) for line in lines],
        "boxes": [line.box for line in lines],
        "det_scores": [line.det_score for line in lines],
        "line_angles": [line.angle for line in lines],
        "rejected_polygons": [line.polygon.reshape(-1) for line in reading.rejected],
        "text": joined(lines),
    }


class RecognizeStage(PageStage):
    """One recognition worker."""

    name = "recognize"
    takes = tuple(REGIONS.names)
    payload = LINES
    code = "RECOGNIZE_FAILED"

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        with set_up():
            check_fingerprint(config, fingerprint)
            self._reader = Reader.load(config, threads, detection=False)
            super().__init__(config)  # last: what the model takes counts

    @property
    def fill(self) -> Fill:
        """See `PageStage.fill`."""
        return self._reader.fill

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any]]:
        """Lines of these pages; their crops go through the model together."""
        pages = [Detected(_regions(table, row), list(_crops(table, row))) for row in rows]
        return [lines_payload(reading) for reading in self._reader.recognize(pages)]


def _crops(table: pa.Table, row: int) -> Iterator[Pixels]:
    pixels = bytes_at(table["crops"], row)
    widths = table["crop_widths"][row].as_py()
    height = pixels.size // (3 * sum(widths)) if widths else 0
    start = 0
    for width in widths:
        end = start + height * width * 3
        yield pixels[start:end].reshape(height, width, 3)
        start = end


def _regions(table: pa.Table, row: int) -> list[Region]:
    polygons, scores = table["region_polygons"][row].as_py(), table["region_scores"][row].as_py()
    return [
        Region(np.array(polygon, np.int32).reshape(-1, 2), score)
        for polygon, score in zip(polygons, scores, strict=True)
    ]
