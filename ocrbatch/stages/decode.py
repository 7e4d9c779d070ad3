"""Decode: documents of the run's manifest to pages, each a row with its pixels.

A worker keeps one sandboxed decoder process and streams: one batch is in its hands at a time, whatever the document's
length. The next documents are fetched while one is decoded.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import iter_pages, parse_pages
from ocrbatch.documents.passwords import candidates
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import DocumentError, OcrBatchError
from ocrbatch.records import Page, Pixels
from ocrbatch.sources.fetching import LocalFile, fetch, require_same
from ocrbatch.sources.patterns import named_otherwise
from ocrbatch.sources.scratch import Scratch
from ocrbatch.sources.selection import Work, read_manifest
from ocrbatch.stages.base import FAILURE, IGNORED, PAGE, ROW, STOP, binary_column, carried, failure_row, stop_reason
from ocrbatch.stages.batches import Gatherer, packed
from ocrbatch.stages.identity import check_decoders
from ocrbatch.stages.spans import Stopwatch
from ocrbatch.stages.watch import bounded
from ocrbatch.storage import Storage

PLACE: Final = pa.schema([("manifest", pa.string()), ("row_group", pa.int32())])
IMAGE: Final = pa.field("image", pa.large_binary())  # H * W * 3 bytes, RGB, rows from the top

FETCHES: Final = 4  # documents fetched ahead: hides an object store's latency, bounds the temporary files
NO_DOCUMENT: Final = ("FILE_UNKNOWN", "FILE_EMPTY")


@dataclass(frozen=True, slots=True)
class Row:
    """A page, or what failed, on its way into a batch. values: of ROW; source, number: the manifest's row it is of."""

    values: dict[str, Any]
    image: Pixels | None = None
    source: pa.Table | None = None
    number: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels."""
        return 0 if self.image is None else self.image.nbytes


class DecodeStage:
    """One decode worker: takes places in the run's manifest (`PLACE`), yields packed batches of `ROW` and `IMAGE`.

    alone: each page is a batch of its own, whatever `pipeline.page_batch` says.
    """

    def __init__(self, config: JobConfig, decoders: dict[str, str], *, alone: bool = False) -> None:
        check_decoders(decoders)
        self._config = config
        self._gatherer = Gatherer(1, grown=1) if alone else Gatherer(config.pipeline.page_batch)
        self._storage = Storage(config.input.storage)
        self._output = Storage(config.output.storage)
        self._manifest: tuple[str, pq.ParquetFile] | None = None
        self._sandbox = Sandbox(config.documents)
        self._pages = parse_pages(config.documents.pages)
        self._scratch = Scratch()
        self._fetchers = ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch")
        self._stopwatch = Stopwatch("decode")
        bounded(config.pipeline.worker_memory_mb)

    def __call__(self, places: pa.Table) -> Iterator[pa.Table]:
        """Pages of the documents, in order."""
        self._stopwatch.start()
        for batch in self._gatherer.gathered(self.rows(places)):
            yield packed(joined(batch), [self._stopwatch.stop((), len(batch))])
            self._stopwatch.start()

    def rows(self, places: pa.Table) -> Iterator[Row]:
        """A row for each page; where the set-up fails (a password's variable, say), one that says so."""
        try:
            yield from self._pages_of(places)
        except OcrBatchError as error:
            yield Row({"uri": "", "etag": "", "outcome": STOP, "failure": stop_reason(error)})

    def _pages_of(self, places: pa.Table) -> Iterator[Row]:
        for uri, group in zip(places["manifest"].to_pylist(), places["row_group"].to_pylist(), strict=True):
            yield from self._documents(self._row_group(uri, group))

    def _row_group(self, uri: str, group: int) -> pa.Table:
        if self._manifest is None or self._manifest[0] != uri:  # about 1 MB, and its groups come one after the other
            self._manifest = uri, pq.ParquetFile(pa.BufferReader(self._output.read(uri)))
        return self._manifest[1].read_row_group(group)

    def _documents(self, table: pa.Table) -> Iterator[Row]:
        waiting: deque[tuple[int, Work, Future[LocalFile]]] = deque()
        for row, work in enumerate(read_manifest(table)):
            waiting.append((row, work, self._fetchers.submit(self._fetch, work)))
            if len(waiting) >= FETCHES:
                yield from self._document(table, *waiting.popleft())
        while waiting:
            yield from self._document(table, *waiting.popleft())

    def _fetch(self, work: Work) -> LocalFile:
        config = self._config
        return fetch(work.document, self._storage, self._scratch.path, config.documents, config.input.bytes_column)

    def _document(self, table: pa.Table, number: int, work: Work, fetching: Future[LocalFile]) -> Iterator[Row]:
        def row(image: Pixels | None = None, **values: Any) -> Row:
            return Row(values, image, table, number)

        def failed(index: int | None, count: int | None, error: DocumentError) -> Row:
            return row(outcome=FAILURE, page_index=index, page_count=count, failure=failure_row(error))

        try:
            file = fetching.result()
        except DocumentError as error:
            yield failed(None, None, error)
            return
        met: set[int] = set(work.done)
        count: int | None = None
        try:
            for outcome in iter_pages(
                self._sandbox,
                file.path,
                selection=self._pages,
                passwords=candidates(self._config.documents.passwords, work.document.uri),
                skip=frozenset(work.done),
            ):
                require_same(work.document, file, self._storage)  # what was decoded may be another version's
                count = outcome.page_count
                if outcome.page_index is not None:
                    met.add(outcome.page_index)
                if isinstance(outcome, Page):
                    yield row(outcome.image, **_of_page(outcome))
                elif outcome.error.code.code in NO_DOCUMENT and named_otherwise(work.document.uri):
                    yield row(outcome=IGNORED)
                else:
                    yield failed(outcome.page_index, outcome.page_count, outcome.error)
        except DocumentError as error:
            # Some pages are out already, and a failure of the whole document would be of those, too.
            left = [None] if count is None else [index for index in self._pages.expected(count) if index not in met]
            for index in left:
                yield failed(index, count, error)
        finally:
            file.discard()


def page_sha256(image: Pixels) -> str:
    """SHA-256 of a page's size and pixels: equal for equal pictures, whatever file they came from."""
    digest = hashlib.sha256(b"%d %d\n" % image.shape[:2])
    digest.update(image.data)
    return digest.hexdigest()


def _of_page(page: Page) -> dict[str, Any]:
    height, width = page.image.shape[:2]
    return {
        "outcome": PAGE,
        "page_index": page.page_index,
        "page_count": page.page_count,
        "width": width,
        "height": height,
        "dpi": page.dpi,
        "page_sha256": page_sha256(page.image),
    }


def joined(rows: Sequence[Row]) -> pa.Table:
    """The rows as one table of ROW, what their documents carry, and IMAGE."""
    groups = [list(group) for _, group in groupby(rows, key=lambda row: id(row.source))]
    # One that ends the run knows nothing of a manifest's columns.
    return pa.concat_tables(map(_of_one_source, groups), promote_options="default")


def _of_one_source(rows: Sequence[Row]) -> pa.Table:
    columns: dict[str, Any] = {}
    if (source := rows[0].source) is not None:
        names = carried(source)
        picked = source.select(names).take(pa.array([row.number for row in rows], pa.int64()))
        columns |= zip(names, picked.columns, strict=True)
    for field in ROW:
        if field.name not in columns:
            columns[field.name] = pa.array([row.values.get(field.name) for row in rows], field.type)
    return pa.table(columns).append_column(IMAGE, binary_column([row.image for row in rows]))
