"""`ocrbatch show`: a PNG of a page with its polygons, and the texts in their places beside it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.cli.streams import tell
from ocrbatch.config import JobConfig
from ocrbatch.errors import DocumentError, UsageError
from ocrbatch.records import Document, Page


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    parser.add_argument(
        "uri", nargs="?", metavar="URI", help="document, or the end of its path; the first one if left out"
    )
    parser.add_argument("--page", type=int, default=1, help="page number, from 1")
    parser.add_argument("--to", metavar="FILE", help="PNG to write; named after the document if left out")
    parser.add_argument("--font", metavar="FILE", help="font for the texts, for scripts that the system's fonts lack")


def execute(arguments: argparse.Namespace) -> int:
    """Decodes the page anew and draws over it what its row says."""
    config = output_config(arguments)
    from PIL import Image

    from ocrbatch.exports.dataset import find_page, lines_of
    from ocrbatch.exports.drawing import draw_page
    from ocrbatch.exports.fonts import lacks
    from ocrbatch.storage import Storage

    row = find_page(Storage(config.output.storage), config.output.uri, arguments.uri, arguments.page - 1)
    lines = lines_of(row)
    try:
        page = _decode(config, row["uri"], row["etag"], row["page_index"], row["dpi"])
    except DocumentError as error:
        more = " `show` needs it by --set, as the run did." if error.code.code == "PDF_PASSWORD" else ""
        raise UsageError(f"{error.code.code}: {error}", error.remedy + more) from error
    picture = draw_page(page.image, lines, arguments.font)
    stem = Path(row["uri"]).stem
    target = Path(arguments.to or f"{stem}-page{arguments.page}.png")
    try:
        Image.fromarray(picture).save(target, None if target.suffix else "PNG")
    except (OSError, ValueError) as error:  # ValueError: an ending that is no image's
        raise UsageError(
            f"can't write {target}: {error}", "Give --to a .png in a folder that you can write."
        ) from error
    if arguments.json:
        print_json({"file": str(target), "uri": row["uri"], "page": arguments.page, "lines": len(lines)})
    else:
        tell(f"{target}: {row['uri']} page {arguments.page}, {len(lines)} lines")
        if lacks((line.text for line in lines), arguments.font):
            tell("  \u25a1 stands for characters that no font here has: give one that has them by --font FILE")
    return 0


def _decode(config: JobConfig, uri: str, etag: str, index: int, dpi: float | None) -> Page:
    from ocrbatch.documents.pages import PageSelection, iter_pages
    from ocrbatch.documents.passwords import candidates
    from ocrbatch.documents.sandbox import Sandbox
    from ocrbatch.sources.fetching import fetched
    from ocrbatch.storage import Storage

    # At the resolution that the row was read at, so that its coordinates fit.
    limits = config.documents.model_copy(update={"dpi": dpi} if dpi else {})
    with (
        tempfile.TemporaryDirectory(prefix="ocrbatch-") as folder,
        Sandbox(limits) as sandbox,
        fetched(Document(uri, etag), Storage(config.input.storage), Path(folder), limits) as path,
    ):
        one = PageSelection(((index, index),))
        for page in iter_pages(sandbox, path, selection=one, passwords=candidates(limits.passwords, uri)):
            if isinstance(page, Page):
                return page
            raise page.error
    raise DocumentError("PAGES_EMPTY", f"{uri} has no page {index + 1} any more")
