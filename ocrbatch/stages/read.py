"""Read (layout `fused`): detection and recognition in one worker, for machines too small for two pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.errors import DocumentError
from ocrbatch.reading.reader import Reader, Reading
from ocrbatch.recognition.recognizer import Fill
from ocrbatch.stages.base import PageStage, guarded
from ocrbatch.stages.detect import DetectStage, image_at
from ocrbatch.stages.identity import check_fingerprint
from ocrbatch.stages.recognize import LINES, RecognizeStage, lines_payload
from ocrbatch.stages.watch import set_up


class ReadStage(PageStage):
    """One worker that detects and recognizes."""

    name = "read"
    takes = ("image",)
    payload = LINES
    code = RecognizeStage.code

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        with set_up():
            check_fingerprint(config, fingerprint)
            self._reader = Reader.load(config, threads)
            super().__init__(config)  # last: what the model takes counts

    @property
    def fill(self) -> Fill:
        """See `PageStage.fill`."""
        return self._reader.fill

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any] | DocumentError]:
        """Lines of these pages, read together; a page at fault has the code that the layout `split` gives it."""
        images = [image_at(table, row) for row in rows]
        pages = guarded(images, self._reader.detect, DetectStage.code)
        found = [page for page in pages if not isinstance(page, DocumentError)]
        readings = iter(guarded(found, self._reader.recognize, self.code))
        return [page if isinstance(page, DocumentError) else _payload(next(readings)) for page in pages]


def _payload(reading: Reading | DocumentError) -> dict[str, Any] | DocumentError:
    return reading if isinstance(reading, DocumentError) else lines_payload(reading)
