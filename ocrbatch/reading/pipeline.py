"""OcrPipeline: documents or arrays in, page records out, in the process that calls it. For notebooks and scripts.

Invariant: records come in the order of the inputs and their pages; the job reads a page by the same `Reader`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from ocrbatch.config import JobConfig, Section, load
from ocrbatch.documents.pages import PageFailure, iter_pages, parse_pages
from ocrbatch.documents.passwords import candidates
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import DocumentError, UsageError
from ocrbatch.reading.reader import Reader
from ocrbatch.records import Page, PageRecord, Pixels

Input = str | Path | Pixels
S = TypeVar("S", bound=Section)

# Pixels of the pages that are read together, whatever pipeline.page_batch says: 400 MB.
PAGES_PIXELS: Final = 1 << 27


class OcrPipeline:
    """Models loaded once, for as many calls of `read` as wanted. Not thread-safe.

    config: a whole job's, or a mapping of its sections. Sections can be overridden by keyword, each a mapping of keys:

        OcrPipeline(engine={"name": "onnxruntime"}, documents={"dpi": 200}, task="detect")

    Raises UsageError for a key or a value that the config doesn't take, ModelError and MissingExtraError.
    """

    def __init__(self, config: JobConfig | Mapping[str, Any] | None = None, **sections: Any) -> None:
        self.config = _overridden(config if isinstance(config, JobConfig) else load(config or {}), sections)
        self._reader = Reader.load(self.config)

    def read(self, inputs: Input | Iterable[Input]) -> Iterator[PageRecord]:
        """Reads images and PDFs on this disk (every page of them), and arrays, (H, W, 3) uint8 RGB.

        Pages are read `pipeline.page_batch` at a time and yielded in order. A record's uri is the path as given, or
        `array:N` for input N, from 0. What can't be read raises DocumentError, which names the file and the page, after
        the pages before it.
        """
        batch: list[tuple[str, Page]] = []
        pixels = 0
        try:
            is_one = isinstance(inputs, str | bytes | np.ndarray)
            for uri, page in self._pages(inputs if isinstance(inputs, Iterable) and not is_one else [inputs]):
                batch.append((uri, page))
                pixels += page.image.size // 3
                if len(batch) >= self.config.pipeline.page_batch or pixels >= PAGES_PIXELS:
                    yield from self._records(batch)
                    batch, pixels = [], 0
        except (DocumentError, UsageError):
            yield from self._records(batch)
            raise
        yield from self._records(batch)

    def _pages(self, inputs: Iterable[Any]) -> Iterator[tuple[str, Page]]:
        selection = parse_pages(self.config.documents.pages)
        with Sandbox(self.config.documents) as sandbox:
            for place, item in enumerate(inputs):
                if isinstance(item, np.ndarray):
                    yield f"array:{place}", Page(_checked(item, place))
                    continue
                if not isinstance(item, str | Path):
                    remedy = "Give paths, or RGB arrays of (H, W, 3) uint8: np.asarray(image.convert('RGB'))."
                    raise UsageError(f"input {place} is a {type(item).__name__}", remedy)
                uri = str(item)
                if not Path(item).is_file():
                    raise DocumentError("FETCH_NOT_FOUND", f"{uri} is no file on this disk.", "Give paths of files.")
                passwords = candidates(self.config.documents.passwords, uri)
                for page in iter_pages(sandbox, Path(item), selection=selection, passwords=passwords):
                    if isinstance(page, PageFailure):
                        raise _named(page, uri) from page.error
                    yield uri, page

    def _records(self, batch: list[tuple[str, Page]]) -> Iterator[PageRecord]:
        readings = self._reader.read([page.image for _, page in batch])
        for (uri, page), reading in zip(batch, readings, strict=True):
            height, width = page.image.shape[:2]
            yield PageRecord(
                uri=uri,
                page_index=page.page_index,
                page_count=page.page_count,
                width=width,
                height=height,
                lines=reading.lines,
                rejected=reading.rejected,
                dpi=page.dpi,
            )


def _overridden(config: JobConfig, sections: Mapping[str, Any]) -> JobConfig:
    """The config with single keys of its sections replaced."""
    values: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(sections, default=str)).items():  # a Path becomes a text
        values |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    given = load(source="OcrPipeline", values=values)
    return _merged(config, given)


def _merged(base: S, given: S) -> S:
    changes = {}
    for name in given.model_fields_set:
        new, old = getattr(given, name), getattr(base, name)
        changes[name] = _merged(old, new) if isinstance(new, Section) else new
    return base.model_copy(update=changes)


def _checked(array: Pixels, place: int) -> Pixels:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UsageError(
            f"input {place} is an array of shape {array.shape} and type {array.dtype}",
            "Give an RGB image: (height, width, 3), uint8.",
        )
    return np.ascontiguousarray(array)


def _named(failure: PageFailure, uri: str) -> DocumentError:
    place = uri if failure.page_index is None else f"{uri}, page {failure.page_index + 1}"
    return DocumentError(failure.error.code.code, f"{place}: {failure.error}", failure.error.remedy)
