"""PDF pages to pixels, by pdfium.

As PaddleX renders them (forms and annotations drawn, white paper, size rounded up), so that the same page gives the
same pixels; only the resolution gives way where a page would have more than max_pixels.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ocrbatch.documents.limits import Limits
from ocrbatch.documents.raster import Raster
from ocrbatch.errors import DocumentError

POINTS_PER_INCH: Final = 72.0

# pdfium keeps every page's streams until the document is closed: 300 scanned pages of 0.6 MB held 170 MB. So a document
# that has grown by this much is opened again, but not for every page of a file whose pages are that large.
RENEW_BYTES: Final = 96 << 20
RENEW_PAGES: Final = 16


class PdfPages:
    """An open PDF. Raises DocumentError PDF_BROKEN, PDF_PASSWORD, PDF_NO_PAGES; for one page PDF_PAGE_BROKEN."""

    def __init__(self, path: Path, passwords: Sequence[str], limits: Limits) -> None:
        self._path = path
        self._passwords = passwords
        self._limits = limits
        self._open()
        self.page_count = len(self._document)
        # A page costs at least its reference in the page tree; a count beyond the file's own size is a lie that would
        # fill failures/ with a million rows.
        size = path.stat().st_size
        if self.page_count > max(1000, size):
            raise DocumentError("PDF_BROKEN", f"The PDF claims {self.page_count} pages, but has only {size} bytes.")

    def _open(self) -> None:
        self._document = _load(self._path, self._passwords)
        # A form that can't be set up costs its fields' contents, not the page.
        with contextlib.suppress(pdfium.PdfiumError):
            self._document.init_forms()
        self._rendered = 0
        self._resident = _resident_bytes()

    def page(self, index: int) -> Raster:
        """Renders one page; Raster.dpi is the resolution that was used."""
        if self._rendered >= RENEW_PAGES and _resident_bytes() - self._resident > RENEW_BYTES:
            self._document.close()
            self._open()
        self._rendered += 1
        try:
            page = self._document.get_page(index)
        except pdfium.PdfiumError as error:
            message = f"Page {index + 1} of {self.page_count} can't be loaded: it is missing from the file, or damaged."
            raise DocumentError("PDF_PAGE_BROKEN", message) from error
        try:
            return self._render(page, index)
        except pdfium.PdfiumError as error:
            message = f"Page {index + 1} of {self.page_count} can't be rendered."
            raise DocumentError("PDF_PAGE_BROKEN", message) from error
        finally:
            page.close()

    def _render(self, page: Any, index: int) -> Raster:
        width, height = page.get_size()
        if not (math.isfinite(width) and math.isfinite(height)):
            raise DocumentError("PDF_PAGE_BROKEN", f"Page {index + 1} of {self.page_count} has no finite size.")
        if width <= 0 or height <= 0:
            # The crop box leaves nothing of the paper: a blank page of one pixel, not a failure.
            return Raster(1, 1, self._limits.dpi, iter([b"\xff\xff\xff"]))
        scale = fit_scale(width, height, self._limits.dpi / POINTS_PER_INCH, self._limits.max_pixels)
        bitmap = page.render(scale=scale, rev_byteorder=True)
        pixels = memoryview(bitmap.buffer).cast("B")
        return Raster(bitmap.width, bitmap.height, scale * POINTS_PER_INCH, iter([pixels]))

    def close(self) -> None:
        """Releases the file."""
        self._document.close()


def fit_scale(width: float, height: float, scale: float, max_pixels: int) -> float:
    """Largest scale, up to `scale`, at which the page has at most `max_pixels`.

    width, height: positive, in points. A side is rounded up, so never below one pixel.
    """

    def pixels(at: float) -> int:
        return math.ceil(width * at) * math.ceil(height * at)

    if pixels(scale) <= max_pixels:
        return scale
    low, high = 0.0, scale
    for _ in range(64):
        middle = (low + high) / 2
        if 0 < pixels(middle) <= max_pixels:
            low = middle
        else:
            high = middle
    return low


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _load(path: Path, passwords: Sequence[str]) -> Any:
    # The C function, because pypdfium2's constructor takes a document without pages for a failure, and then reports
    # whatever error the document before it left behind.
    for password in (None, *passwords):
        word = None if password is None else password.encode("utf8", "surrogateescape")
        handle = pdfium_c.FPDF_LoadDocument(os.fsencode(path), word)
        if handle:
            document = pdfium.PdfDocument(handle)
            if len(document) < 1:
                document.close()
                raise DocumentError("PDF_NO_PAGES", "The PDF opens, but has no pages.")
            return document
        code = pdfium_c.FPDF_GetLastError()
        if code != pdfium_c.FPDF_ERR_PASSWORD:
            raise _failure(code)
    tried = "no password that was given opens it" if passwords else "no password was given for it"
    raise DocumentError("PDF_PASSWORD", f"The PDF is encrypted, and {tried}.")


def _failure(code: int) -> DocumentError:
    if code == pdfium_c.FPDF_ERR_SECURITY:
        message = "The PDF is encrypted by a method that can't be undone here."
        return DocumentError("PDF_PASSWORD", message, "Decrypt it (for example with `qpdf --decrypt`) and upload that.")
    if code == pdfium_c.FPDF_ERR_FILE:
        return DocumentError("FETCH_FAILED", "The PDF's local copy can't be read.")
    return DocumentError(
        "PDF_BROKEN", "The PDF can't be read: its cross-reference table, trailer or page tree is damaged."
    )
