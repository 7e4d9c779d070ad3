"""A page on its way out of the decoder: its size, and its pixels strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Raster:
    """strips: consecutive runs of whole rows, RGB, 8 bits, width * height * 3 bytes in all; can be read once."""

    width: int
    height: int
    dpi: float | None
    strips: Iterator[bytes | memoryview]


class Pages(Protocol):
    """An open document. `page` raises DocumentError or MemoryError, and can be asked for any page in any order."""

    @property
    def page_count(self) -> int:
        """At least 1."""

    def page(self, index: int) -> Raster:
        """The page, decoded; 0 <= index < page_count."""

    def close(self) -> None:
        """Releases the file."""
