"""Read (layout `fused`): detection and recognition in one worker, for machines too small for two pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.reading.reader import Reader
from ocrbatch.stages.base import PageStage
from ocrbatch.stages.detect import image_at
from ocrbatch.stages.identity import check_fingerprint
from ocrbatch.stages.recognize import LINES, lines_payload


class ReadStage(PageStage):
    """One worker that detects and recognizes."""

    takes = ("image",)
    payload = LINES
    code = "RECOGNIZE_FAILED"

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        check_fingerprint(config, fingerprint)
        self._reader = Reader.load(config, threads)

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any]]:
        """Lines of these pages, read together."""
        return [lines_payload(reading) for reading in self._reader.read([image_at(table, row) for row in rows])]
