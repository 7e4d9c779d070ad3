"""The pages of a benchmark: a folder's documents, decoded once by ocrbatch, as PNGs that every contestant reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pypdfium2

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import ALL_PAGES, PageFailure, PageSelection, iter_pages
from ocrbatch.documents.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class BenchPage:
    """path: of its PNG. pixels: width times height. truth: what stands on it; None where that is not known."""

    path: Path
    source: str
    pixels: int
    truth: str | None


def bench_pages(folder: Path, target: Path, most: int | None, truth: Mapping[str, Any]) -> list[BenchPage]:
    """Decodes the documents below `folder` into `target`; says which files are none.

    most: so many pages of each document, the first ones; None for all. truth: of images, see `written`; of a PDF's page
    its text layer is the truth.
    """
    selection = PageSelection(((0, most - 1),)) if most else ALL_PAGES
    found: list[BenchPage] = []
    with Sandbox(JobConfig().documents) as sandbox:
        for path in files(folder):
            for page in iter_pages(sandbox, path, selection=selection):
                if isinstance(page, PageFailure):
                    print(f"passed over {path}: {page.error}", file=sys.stderr)
                    continue
                place, (height, width) = target / f"{len(found):05}.png", page.image.shape[:2]
                cv2.imwrite(str(place), cv2.cvtColor(page.image, cv2.COLOR_RGB2BGR))
                is_pdf = page.dpi is not None
                text = text_layer(path, page.page_index) if is_pdf else written(truth.get(path.name))
                found.append(BenchPage(place, f"{path.name} {page.page_index + 1}", width * height, text))
    return found


def files(folder: Path) -> Iterator[Path]:
    """All files below a folder, by name; links to folders are followed."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))


def written(lines: list[str | dict[str, Any]] | None) -> str | None:
    """What an image says, of its lines in a file of truth: each a text, or a mapping that has one."""
    if lines is None:
        return None
    return "\n".join(line if isinstance(line, str) else line["text"] for line in lines)


def text_layer(path: Path, index: int) -> str | None:
    """What a page of a PDF says of itself; None where it has no text, like a scan."""
    document = pypdfium2.PdfDocument(path)
    try:
        return document[index].get_textpage().get_text_bounded().strip() or None
    finally:
        document.close()
