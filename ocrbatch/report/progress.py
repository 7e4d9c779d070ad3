"""The progress line: pages done of planned, pages/s, ETA, failures.

The pages of a PDF are known only once it is opened, so the plan grows as documents are met; the line says so until all
are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

LINE_SECONDS: Final = 10.0  # between lines where there is no terminal
LIVE_SECONDS: Final = 0.5  # between redraws of the line on one
FEW_COLUMNS: Final = 80  # where a terminal does not say how many it has


class Progress:
    """Counts of one run as they come in.

    documents: those the run has to read. `met` and `planned` grow with `meet`: planned pages of documents that were
    met, one for each that was not yet.
    """

    def __init__(
        self, documents: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.documents = documents
        self.met = 0
        self.pages = 0
        self.failures = 0
        self._known = 0
        self._stream = stream or sys.stderr
        self._clock = clock
        self._started = clock()
        self._shown = self._started
        self._live = self._stream.isatty()

    @property
    def planned(self) -> int:
        """Pages of the documents met so far, and one for each that was not met."""
        return max(self._known + self.documents - self.met, self.pages + self.failures)

    def meet(self, pages: int) -> None:
        """A document was opened that has this many pages to read (0: it is ignored)."""
        self.met += 1
        self._known += pages

    def add(self, pages: int, failures: int) -> None:
        """Results of one write task came."""
        self.pages += pages
        self.failures += failures

    def rate(self) -> float:
        """Pages a second since the run began."""
        elapsed = self._clock() - self._started
        return self.pages / elapsed if elapsed > 0 else 0.0

    def line(self) -> str:
        """The line as it stands."""
        done, planned = self.pages + self.failures, self.planned
        growing = self.met < self.documents
        parts = [f"{self.pages} of {'at least ' * growing}{planned} pages"]
        rate = self.rate()
        parts.append(f"{rate:.1f} pages/s" if self.pages else "the first take a while")
        if self.pages and done < planned:
            parts.append(f"ETA {duration((planned - done) / rate)}")
        parts.append(f"{self.failures} failed")
        if growing:  # last, as a narrow terminal shows the beginning only
            parts.append(f"{self.met} of {self.documents} documents")  # the others' pages are not counted yet
        return " · ".join(parts)

    def show(self, *, force: bool = False) -> None:
        """Draws the line when it is time to."""
        now = self._clock()
        if not force and now - self._shown < (LIVE_SECONDS if self._live else LINE_SECONDS):
            return
        self._shown = now
        self._stream.write(f"\r\x1b[2K{self.line()[: self._columns()]}" if self._live else f"{self.line()}\n")
        self._stream.flush()

    def _columns(self) -> int:
        """What fits into a line: a longer one wraps, and only its last row would be drawn over."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            return FEW_COLUMNS
        return max(1, columns or FEW_COLUMNS) - 1  # some terminals wrap at their last one already

    def end(self) -> None:
        """Leaves the last line standing."""
        if self._live:
            self.show(force=True)
            self._stream.write("\n")
            self._stream.flush()


def duration(seconds: float) -> str:
    """`1h02m`, `3m05s`, `12s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
