"""What the decoder's process runs: confine itself, then answer requests until its parent closes the pipe.

Imports are what its start costs (0.06 s without pdfium and numpy), so each decoder is imported when it is first needed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from PIL import Image  # noqa: F401 (mapped before the memory limit is set, so that it does not count)

from ocrbatch.documents import wire
from ocrbatch.documents.limits import Limits, confine
from ocrbatch.documents.raster import Pages, Raster
from ocrbatch.documents.sniff import HEAD_BYTES, sniff
from ocrbatch.errors import DocumentError

_NO_MEMORY: Final = "Decoding needed more memory than documents.memory_mb allows."


def open_pages(path: Path, passwords: list[str], limits: Limits) -> tuple[str, Pages]:
    """The document as ("pdf" or "image", its pages). Raises DocumentError or MemoryError."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise DocumentError("FETCH_FAILED", f"The local copy can't be read: {error.strerror}.") from error
    kind = sniff(head)
    if kind == "empty":
        raise DocumentError("FILE_EMPTY", "The file has no bytes.")
    if kind == "pdf":
        from ocrbatch.documents.pdf import PdfPages

        return "pdf", PdfPages(path, passwords, limits)
    from ocrbatch.documents.image import ImagePages

    return "image", ImagePages(path, head, limits, recognised=kind == "image")


def main() -> None:
    """Serves on stdin and stdout. Arguments: memory limit in MiB, process id of the parent."""
    confine(int(sys.argv[1]), int(sys.argv[2]))
    # What a C library prints must not end up among the pixels.
    replies = os.dup(1)
    os.dup2(2, 1)
    _send(replies, wire.pack({"ready": True}))
    try:
        _serve(replies)
    except MemoryError:
        os._exit(wire.EXIT_MEMORY)


def _serve(replies: int) -> None:
    pages: Pages | None = None
    while (request := wire.read(sys.stdin.buffer)) is not None:
        raster: Raster | None = None
        try:
            if request["op"] == "open":
                if pages is not None:
                    pages.close()
                    pages = None
                kind, pages = open_pages(Path(request["path"]), request["passwords"], Limits(**request["limits"]))
                answer = {"kind": kind, "pages": pages.page_count}
            elif pages is not None:
                raster = pages.page(request["index"])
                answer = {"width": raster.width, "height": raster.height, "dpi": raster.dpi}
            else:
                answer = {}
        except DocumentError as error:
            answer = _failure(error)
        except MemoryError:
            answer = _failure(DocumentError("DECODE_MEMORY", _NO_MEMORY))
        _send(replies, wire.pack(answer))
        if raster is not None:
            for strip in raster.strips:
                _send(replies, strip)
        del raster  # or the picture would stay until the next request


def _failure(error: DocumentError) -> dict[str, Any]:
    return {"error": error.code.code, "message": str(error), "remedy": error.remedy}


def _send(to: int, body: bytes | memoryview) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(to, view) :]


if __name__ == "__main__":
    main()
