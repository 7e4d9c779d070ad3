"""The nouns of the job, as frozen records: document > page > line > word.

Coordinates are pixels of the page after EXIF and PDF rotation, x to the right, y down, before any correction by a
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Document:
    """One object to read. `(uri, etag)` names one version of it.

    `uri` may point into a container: `s3://lake/scans.tar!/a/1.png`. `extra` holds a manifest's pass-through values.
    """

    uri: str
    etag: str
    size: int | None = None
    mtime: datetime | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A decoded page.

    image: (H, W, 3) uint8, RGB, C-contiguous. dpi: what a PDF page was rendered at, None for images.
    """

    image: Pixels
    page_index: int = 0
    page_count: int = 1
    dpi: float | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A detected text line. polygon: (N, 2) int32, clockwise from the top-left (N = 4 but for seal text)."""

    polygon: NDArray[np.int32]
    score: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read. `angle` is the text-line orientation in degrees, -1 where that module is off."""

    text: str
    score: float
    polygon: NDArray[np.int32]
    det_score: float
    angle: int = -1

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(xmin, ymin, xmax, ymax) of the polygon."""
        (xmin, ymin), (xmax, ymax) = self.polygon.min(axis=0), self.polygon.max(axis=0)
        return int(xmin), int(ymin), int(xmax), int(ymax)


@dataclass(frozen=True, slots=True)
class PageRecord:
    """A page as read: what one row of pages/ says, for use in Python. Lines are in reading order."""

    uri: str
    page_index: int
    page_count: int
    width: int
    height: int
    lines: tuple[Line, ...]
    rejected: tuple[Line, ...] = ()
    dpi: float | None = None
    angle: int | None = None

    @property
    def text(self) -> str:
        """The lines' texts, one a line; '' where lines were only found."""
        return joined(self.lines)


def joined(lines: Sequence[Line]) -> str:
    """The lines' texts, one a line; '' where none has any."""
    return "\n".join(line.text for line in lines) if any(line.text for line in lines) else ""
