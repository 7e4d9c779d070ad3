"""The text recognizer: batches of crops, the engine, decoding.

Invariant: a crop's text and score don't depend on the crops beside it, their number or their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ocrbatch.config import RecognitionConfig
from ocrbatch.engines.base import Engine
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.recognition.buckets import Batch, batches
from ocrbatch.recognition.ctc import decode
from ocrbatch.records import Pixels

# PaddleX pads with zeros after normalisation, mid-grey: 127.5. Against its text on receipts 127 agrees in 99.48% of the
# characters (as does 127.5 itself), 128 in 99.46%. Its least width of 320 px makes the other 0.52%: with it, all agree.
PADDING: Final = 127


@dataclass(frozen=True, slots=True)
class Fill:
    """How well batches were filled: columns of lines, and of all that the model computed, empty rows included."""

    useful: int = 0
    total: int = 0

    def __add__(self, other: Fill) -> Fill:
        return Fill(self.useful + other.useful, self.total + other.total)

    def __sub__(self, other: Fill) -> Fill:
        return Fill(self.useful - other.useful, self.total - other.total)

    @property
    def padding_ratio(self) -> float:
        """Share of the columns that was padding, 0 to 1; 0 where nothing went through."""
        return 1 - self.useful / self.total if self.total else 0.0


class Recognizer:
    """A loaded recognition model. `fill` sums up all batches so far. Not thread-safe."""

    def __init__(self, engine: Engine, characters: Sequence[str], config: RecognitionConfig) -> None:
        self._engine = engine
        self._characters = tuple(characters)
        self._config = config
        self.fill = Fill()

    def recognize(self, crops: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Reads crops, each (48, w, 3) uint8 BGR, of any number of pages: text and score of each, in the order given.

        The score is the mean probability of the characters, 0 to 1. Raises RuntimeError when the engine fails.
        """
        read: list[tuple[str, float]] = [("", 0.0)] * len(crops)
        widths = [crop.shape[1] for crop in crops]
        planned = batches(widths, self._config.batch_pixels)
        with closing(self._engine.run_many(padded(crops, batch) for batch in planned)) as outputs:
            for batch, (classes, probabilities) in zip(planned, outputs, strict=True):
                lines = decode(np.asarray(classes, np.int32), np.asarray(probabilities, np.float32), self._characters)
                for member, line in zip(batch.members, lines, strict=True):
                    read[member] = line
                useful = sum(widths[member] for member in batch.members)
                rows = self._engine.rows_computed((len(batch.members), LINE_HEIGHT, batch.width, 3))
                self.fill += Fill(useful, batch.width * rows)
        return read


def padded(crops: Sequence[Pixels], batch: Batch) -> NDArray[np.uint8]:
    """The crops of a batch at its width, filled up with grey on the right: (B, 48, width, 3) uint8."""
    pixels = np.full((len(batch.members), LINE_HEIGHT, batch.width, 3), PADDING, np.uint8)
    for row, member in zip(pixels, batch.members, strict=True):
        row[:, : crops[member].shape[1]] = crops[member]
    return pixels
